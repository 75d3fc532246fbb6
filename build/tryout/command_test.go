package tryout

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestWhatIsRunInAnImage(t *testing.T) {
	t.Parallel()
	full := imagebuilder.Config{
		Entrypoint: []string{"/entry", "-a"}, Cmd: []string{"cmd"}, Env: []string{"A=image"}, WorkingDir: "/work",
		User: "alice",
	}
	tests := map[string]struct {
		config  imagebuilder.Config
		command Command
		want    plan.Run
	}{
		"the image's own": {full, Command{}, plan.Run{
			Args: []string{"/entry", "-a", "cmd"}, Env: []string{"A=image"}, Cwd: "/work", User: "alice",
		}},
		"arguments": {full, Command{Args: []string{"x", "y"}}, plan.Run{
			Args: []string{"/entry", "-a", "x", "y"}, Env: []string{"A=image"}, Cwd: "/work", User: "alice",
		}},
		"entry point": {full, Command{Entrypoint: []string{"sh"}}, plan.Run{
			Args: []string{"sh"}, Env: []string{"A=image"}, Cwd: "/work", User: "alice",
		}},
		"no entry point": {full, Command{Entrypoint: []string{}, Args: []string{"x"}}, plan.Run{
			Args: []string{"x"}, Env: []string{"A=image"}, Cwd: "/work", User: "alice",
		}},
		"settings": {full, Command{Env: []string{"A=mine"}, Workdir: "/", User: "0:5", Hostname: "box"}, plan.Run{
			Args: []string{"/entry", "-a", "cmd"}, Env: []string{"A=image", "HOSTNAME=box", "A=mine"}, Cwd: "/", User: "0:5",
			Hostname: "box",
		}},
		"terminal": {imagebuilder.Config{Cmd: []string{"sh"}}, Command{Terminal: true, Term: "vt100"}, plan.Run{
			Args: []string{"sh"}, Env: []string{"TERM=vt100"}, Cwd: "/",
		}},
		"terminal of a kind that nobody knows": {imagebuilder.Config{Cmd: []string{"sh"}}, Command{Terminal: true}, plan.Run{
			Args: []string{"sh"}, Env: []string{"TERM=xterm"}, Cwd: "/",
		}},
	}
	for name, test := range tests {
		got, err := test.command.in(imagebuilder.Image{Config: test.config})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(test.want, *got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if strings.Join(full.Env, " ") != "A=image" {
		t.Error("the image's environment was changed")
	}
}

func TestAnImageWithoutACommandIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Command{
		"nothing": {}, "no entry point": {Entrypoint: []string{}}, "an empty word": {Args: []string{"", "x"}},
	} {
		if got, err := c.in(imagebuilder.Image{}); err == nil || !strings.Contains(err.Error(), "hint: give one") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
