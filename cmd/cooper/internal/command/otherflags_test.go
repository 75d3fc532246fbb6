package command_test

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestFlagsOfOtherToolsAreTakenOrRefusedByName(t *testing.T) {
	t.Parallel()
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	command.AcceptSwitches(f, "compress")
	command.Refuse(f, "cooper makes no signatures", "sign-by")
	if err := f.Parse([]string{"--compress", "--compress=false"}); err != nil {
		t.Error(err)
	}
	err := f.Parse([]string{"--sign-by=me"})
	if err == nil || !strings.Contains(err.Error(), "--sign-by") || !strings.Contains(err.Error(), "no signatures") {
		t.Errorf("got %v", err)
	}
	if text := f.FlagUsages(); text != "" {
		t.Errorf("help shows %s", text)
	}
}
