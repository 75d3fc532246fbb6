package cli

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// TestEachFlagOfTheVerbsForImagesIsThereOrRefusedByName holds the verbs against the manuals of docker and podman.
func TestEachFlagOfTheVerbsForImagesIsThereOrRefusedByName(t *testing.T) {
	t.Parallel()
	root := newRootCmd(command.Env{}, io.Discard)
	for _, tool := range []string{"docker", "podman"} {
		text, err := os.ReadFile("testdata/" + tool + "-verbs.txt")
		if err != nil {
			t.Fatal(err)
		}
		_, lines, _ := strings.Cut(string(text), "\n")
		for line := range strings.Lines(lines) {
			verb, flag, _ := strings.Cut(strings.TrimSpace(line), ": ")
			long, short, _ := strings.Cut(flag, " ")
			cmd, rest, err := root.Find(strings.Fields(verb))
			if err != nil || len(rest) > 0 {
				t.Fatalf("%s %s: %v", tool, verb, err)
			}
			own := cmd.Flags().Lookup(long)
			switch {
			case own == nil && verb == "run" && refusedByRun(t, long, short):
			case own == nil:
				t.Errorf("%s %s has --%s, and cooper %s knows nothing of it", tool, verb, long, verb)
			case short != own.Shorthand && short != "":
				t.Errorf("%s %s has -%s for --%s, and cooper %s has %q", tool, verb, short, long, verb, own.Shorthand)
			case own.Hidden && own.Usage == "":
				t.Errorf("cooper %s takes --%s and doesn't say why that changes nothing", verb, long)
			}
		}
	}
}

// refusedByRun tells whether cooper run says of a flag that only a container manager has it.
func refusedByRun(t *testing.T, long, short string) bool {
	t.Helper()
	words := []string{"--" + long}
	if short != "" {
		words = append(words, "-"+short)
	}
	for _, word := range words {
		root := newRootCmd(command.Env{Args: []string{"run", word}}, io.Discard)
		root.SetArgs([]string{"run", word, "x", "image"})
		root.SetErr(io.Discard)
		err := root.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), word+": ") && !strings.Contains(err.Error(), "in "+word) ||
			!strings.Contains(err.Error(), "no container manager\nhint: podman run makes") {
			t.Errorf("cooper run %s: %v", word, err)
		}
	}
	return true
}
