package command_test

import (
	"errors"
	"testing"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestFlagsOfOtherToolsAreTakenOrRefusedByName(t *testing.T) {
	t.Parallel()
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	command.Accept(f, "it is always so", "compress,c")
	command.Refuse(f, "cooper makes no signatures", "sign-by,s")
	if err := f.Parse([]string{"--compress", "-c", "--compress=false"}); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"--sign-by=me"}, {"--sign-by", "me"}, {"--sign-by"}, {"-s"}, {"-sme"}} {
		err := f.Parse(args)
		invalid := new(pflag.InvalidValueError)
		if !errors.As(err, &invalid) || command.Refusal(invalid.GetFlag()) != "cooper makes no signatures" {
			t.Errorf("%s: got %v", args, err)
		}
	}
	if why := command.Refusal(f.Lookup("compress")); why != "" {
		t.Errorf("what is taken is refused: %s", why)
	}
	if text := f.FlagUsages(); text != "" {
		t.Errorf("help shows %s", text)
	}
}
