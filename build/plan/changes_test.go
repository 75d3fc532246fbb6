package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// changed plans a Dockerfile with options.
func changed(t *testing.T, text string, set func(*plan.Options)) *plan.Graph {
	t.Helper()
	f, err := dockerfile.Parse("Dockerfile", []byte(text), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	set(&o)
	g, err := plan.Make(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// runs are the environments of the RUN steps in the order of the file, each on one line.
func runs(g *plan.Graph) (envs []string) {
	for _, s := range g.Steps {
		if run, ok := s.Op.(*plan.Run); ok {
			envs = append(envs, strings.Join(run.Env, " "))
		}
	}
	return envs
}

func TestEachStageBeginsWithTheVariablesOfTheCommandLine(t *testing.T) {
	g := changed(t, `FROM appbase AS one
ENV X=${MINE} MINE=file
RUN one
FROM alpine AS two
RUN two
FROM one
RUN three
COPY --from=two / /
`, func(o *plan.Options) { o.Changes.Env = []string{"MINE=a b", "APP=2"} })
	want := []string{"PATH=/bin APP=2 MINE=file X=a b", "PATH=/usr/bin:/bin MINE=a b APP=2",
		"PATH=/bin APP=2 MINE=a b X=a b"}
	if diff := cmp.Diff(want, runs(g)); diff != "" {
		t.Errorf("RUN steps (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"PATH=/bin", "APP=2", "MINE=a b", "X=a b"}, g.Target.Image.Config.Env); diff != "" {
		t.Errorf("image (-want +got)\n%s", diff)
	}
	for _, s := range g.Steps {
		if strings.Contains(s.CreatedBy, "APP") {
			t.Errorf("the history has %q", s.CreatedBy)
		}
	}
}

func TestOnlyTheFinishedImageLacksWhatIsUnset(t *testing.T) {
	g := changed(t, "FROM appbase\nENV OWN=1\nLABEL own=1 kept=1\nRUN one\n", func(o *plan.Options) {
		o.Labels = map[string]string{"cli": "1"}
		o.Changes.UnsetEnv, o.Changes.UnsetLabels = []string{"APP", "OWN", "NONE"}, []string{"from", "own", "none"}
	})
	if diff := cmp.Diff([]string{"PATH=/bin APP=1 OWN=1"}, runs(g)); diff != "" {
		t.Errorf("RUN steps (-want +got)\n%s", diff)
	}
	image := g.Target.Image.Config
	if diff := cmp.Diff([]string{"PATH=/bin"}, image.Env); diff != "" {
		t.Errorf("variables (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"kept": "1", "cli": "1"}, image.Labels); diff != "" {
		t.Errorf("labels (-want +got)\n%s", diff)
	}
}

func TestTheImageAsksForWhatTheCommandLineSaysOfTheSystem(t *testing.T) {
	g := changed(t, "FROM scratch\nCOPY a /\n", func(o *plan.Options) {
		o.Platform.OSVersion, o.Platform.OSFeatures = "9", []string{"old", "kept"}
		o.Changes.OSVersion, o.Changes.OSFeatures = "10.0", []string{"win32k", "old-", "win32k", "none-"}
	})
	got := g.Target.Image.Platform
	if diff := cmp.Diff([]string{"kept", "win32k"}, got.OSFeatures); diff != "" || got.OSVersion != "10.0" {
		t.Errorf("version %q, features (-want +got)\n%s", got.OSVersion, diff)
	}
}

func TestLabelsOfImagesAndStagesBelowAreDropped(t *testing.T) {
	g := changed(t, "FROM appbase AS one\nLABEL one=1\nFROM one\nLABEL two=2\n", func(o *plan.Options) {
		o.Labels, o.Changes.DropLabels = map[string]string{"cli": "1"}, true
	})
	if diff := cmp.Diff(map[string]string{"two": "2", "cli": "1"}, g.Target.Image.Config.Labels); diff != "" {
		t.Errorf("labels (-want +got)\n%s", diff)
	}
}

func TestTheFirstBaseIsThatOfTheCommandLine(t *testing.T) {
	const text = "FROM ${NONE} AS one\nRUN x\nFROM busybox\nCOPY --from=one / /\n"
	for name, test := range map[string]struct{ from, want string }{
		"an image":              {"golang:1", "FROM golang:1"},
		"nothing":               {"scratch", "FROM scratch"},
		"a named context":       {"mine", "FROM mine"},
		"what a stage is named": {"one", "cannot get image"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := dockerfile.Parse("Dockerfile", []byte(text), dockerfile.Options{})
			if err != nil {
				t.Fatal(err)
			}
			o := options()
			o.Changes.From = test.from
			o.Contexts = map[string]plan.NamedContext{"mine": {Kind: plan.ContextImage, Ref: "alpine"}}
			g, err := plan.Make(t.Context(), f, o)
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Error(err)
				}
				return
			}
			if g.Steps[0].Text != test.want || g.Steps[2].Text != "FROM busybox" {
				t.Errorf("the stages begin with %s and %s", g.Steps[0].Text, g.Steps[2].Text)
			}
		})
	}
}

func TestStagesThatMustNotComeFromTheCache(t *testing.T) {
	g := changed(t, "FROM alpine AS One\nRUN one\nFROM alpine\nRUN two\nFROM alpine\nCOPY --from=one /a /\nCOPY --from=1 /a /\n",
		func(o *plan.Options) { o.Fresh = []string{"oNE", "2", "onn"} })
	for _, s := range g.Steps {
		if fresh := s.Stage.Index != 1; s.Fresh != fresh {
			t.Errorf("%s of stage %d: %t", s.Text, s.Stage.Index, s.Fresh)
		}
	}
	var told []string
	for _, w := range g.Warnings {
		if w.Rule == plan.RuleNoCacheFilter {
			told = append(told, w.Message)
		}
	}
	if diff := cmp.Diff([]string{`there is no stage "onn" to run without the cache; did you mean one?`},
		told); diff != "" {
		t.Errorf("warnings (-want +got)\n%s", diff)
	}
}
