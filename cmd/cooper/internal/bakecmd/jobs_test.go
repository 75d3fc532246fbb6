package bakecmd

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/internal/bakefile"
)

func targets() []bakefile.Target {
	return []bakefile.Target{
		{Name: "app", Links: map[string]string{"base": "base"}}, {Name: "base"}, {Name: "other"},
	}
}

func TestATargetComesAfterThoseThatItIsLinkedTo(t *testing.T) {
	t.Parallel()
	for _, parallel := range []int{0, 1, 2} {
		var mu sync.Mutex
		var built []string
		err := Jobs{Mode: FailFast, Parallel: parallel}.Run(t.Context(), targets(),
			func(_ context.Context, target bakefile.Target) error {
				mu.Lock()
				defer mu.Unlock()
				built = append(built, target.Name)
				return nil
			})
		all := strings.Join(built, " ")
		if err != nil || len(built) != 3 || strings.Index(all, "base") > strings.Index(all, "app") {
			t.Errorf("%d at once: built %s, %v", parallel, all, err)
		}
	}
}

func TestWhatAFailedTargetMeansForOthers(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for mode, want := range map[Mode]string{FailFast: "", DeferError: "other"} {
		var mu sync.Mutex
		var built []string
		failed := make(chan struct{})
		err := Jobs{Mode: mode}.Run(t.Context(), targets(), func(ctx context.Context, target bakefile.Target) error {
			if target.Name == "base" {
				defer close(failed)
				return broken
			}
			<-failed
			if mode == FailFast {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			built = append(built, target.Name)
			return nil
		})
		if !errors.Is(err, broken) || err.Error() != "target base: broken" {
			t.Errorf("%s: %v", mode, err)
		}
		if got := strings.Join(built, " "); got != want {
			t.Errorf("%s: built %q, want %q", mode, got, want)
		}
	}
}

func TestJobsAreANumberOrAMode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Jobs{
		"": {Mode: FailFast}, "3": {Mode: FailFast, Parallel: 3}, "defer-error": {Mode: DeferError},
		"mode=defer-output,parallel=2": {Mode: DeferOutput, Parallel: 2},
	} {
		if got, err := ParseJobs(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"x", "-1", "parallel=x", "mode=y"} {
		if got, err := ParseJobs(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestListsAreTablesOrJSON(t *testing.T) {
	t.Parallel()
	value := "v"
	a := bakefile.Answer{
		Names:     []bakefile.Name{{Name: "app", Description: "the app"}},
		Variables: []bakefile.Variable{{Name: "A", Value: &value}, {Name: "B"}},
	}
	for text, want := range map[string]string{
		"targets":                  "TARGET  DESCRIPTION\napp     the app\n",
		"variables":                "VARIABLE  TYPE  VALUE   DESCRIPTION\nA               v       \nB               <null>  \n",
		"type=targets,format=json": "[\n  {\n    \"name\": \"app\",\n    \"description\": \"the app\"\n  }\n]\n",
	} {
		l, err := ParseList(text)
		var got strings.Builder
		if err == nil {
			err = l.Write(&got, a)
		}
		if diff := cmp.Diff(want, got.String()); err != nil || diff != "" {
			t.Errorf("%s: %v%s", text, err, diff)
		}
	}
	if _, err := ParseList("fields"); err == nil {
		t.Error("there is no list of fields")
	}
}
