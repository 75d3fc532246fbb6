package plan_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/plan"
)

// combined plans a file for several platforms and puts the plans together.
func combined(t *testing.T, file string, names ...string) (*plan.Graph, []*plan.Stage) {
	t.Helper()
	var graphs []*plan.Graph
	var wanted []ocispec.Platform
	for _, name := range names {
		o := options()
		o.Platform = platforms.Normalize(platforms.MustParse(name))
		g, err := make1(t.Context(), []byte(file), o)
		if err != nil {
			t.Fatal(err)
		}
		graphs, wanted = append(graphs, g), append(wanted, o.Platform)
	}
	before := string(render(t, graphs[0]))
	g, targets, err := plan.Combine(graphs, wanted)
	if err != nil {
		t.Fatal(err)
	}
	if after := string(render(t, graphs[0])); before != after {
		t.Error("the plan was changed")
	}
	return g, targets
}

func shownCombined(g *plan.Graph) []string {
	var out []string
	for _, s := range g.Steps {
		out = append(out, fmt.Sprintf("%s: %s", s.Platforms, s.Text))
	}
	return out
}

func TestStepsThatNoPlatformChangesAreThereOnce(t *testing.T) {
	g, targets := combined(t, `FROM --platform=$BUILDPLATFORM golang AS build
RUN go mod download
ARG TARGETARCH
RUN go build
FROM multi
COPY --from=build /app /app
RUN --mount=from=busybox,target=/b /app
`, "linux/arm64", "linux/arm/v6", "linux/amd64")
	want := []string{
		"linux/amd64: FROM golang", "linux/amd64: RUN go mod download",
		"linux/amd64->arm64: ARG TARGETARCH", "linux/amd64->arm64: RUN go build",
		"linux/arm64: FROM multi", "linux/arm64: COPY --from=build /app /app", "linux/amd64: FROM busybox",
		"linux/arm64: RUN --mount=from=busybox,target=/b /app",
		"linux/amd64->arm/v6: ARG TARGETARCH", "linux/amd64->arm/v6: RUN go build",
		"linux/arm/v6: FROM multi", "linux/arm/v6: COPY --from=build /app /app",
		"linux/arm/v6: RUN --mount=from=busybox,target=/b /app",
		"linux/amd64: ARG TARGETARCH", "linux/amd64: RUN go build",
		"linux/amd64: FROM multi", "linux/amd64: COPY --from=build /app /app",
		"linux/amd64: RUN --mount=from=busybox,target=/b /app",
	}
	if d := cmp.Diff(want, shownCombined(g)); d != "" {
		t.Error(d)
	}
	checkSteps(t, g)
	for n, platform := range []string{"linux/arm64", "linux/arm/v6", "linux/amd64"} {
		if got := platforms.FormatAll(targets[n].Image.Platform); got != platform {
			t.Errorf("image %d is for %s", n, got)
		}
		last := targets[n].Last
		if last.Stage != targets[n] || last.Text != "RUN --mount=from=busybox,target=/b /app" {
			t.Errorf("image %d ends in %q", n, last.Text)
		}
	}
	if g.Target != targets[0] || len(g.Stages) != 6 {
		t.Errorf("%d stages", len(g.Stages))
	}
}

func TestImagesOfOneContentKeepTheirPlatforms(t *testing.T) {
	g, targets := combined(t, "FROM --platform=$BUILDPLATFORM alpine AS all\nRUN true\n", "linux/arm64", "linux/s390x")
	if d := cmp.Diff([]string{"linux/amd64: FROM alpine", "linux/amd64: RUN true"}, shownCombined(g)); d != "" {
		t.Error(d)
	}
	if targets[0].Last != targets[1].Last || len(g.Stages) != 1 {
		t.Errorf("%d stages", len(g.Stages))
	}
	if a, b := targets[0].Image.Platform.Architecture, targets[1].Image.Platform.Architecture; a != "arm64" ||
		b != "s390x" {
		t.Errorf("for %s and %s", a, b)
	}
}

func TestStepsThatDifferInOneThingStayApart(t *testing.T) {
	for _, line := range []string{
		"ARG TARGETARCH\nENV A=$TARGETARCH", "ARG TARGETARCH\nRUN true", "ARG TARGETARCH\nCOPY $TARGETARCH /",
		"ARG TARGETARCH\nWORKDIR /$TARGETARCH",
		"ARG TARGETARCH\nLABEL a=$TARGETARCH", "COPY --from=multi / /", "RUN --mount=from=multi,target=/m true",
		"RUN --mount=type=cache,from=multi,target=/m true",
	} {
		g, targets := combined(t, "FROM --platform=$BUILDPLATFORM alpine\n"+line+"\n", "linux/arm64", "linux/s390x")
		if targets[0].Last == targets[1].Last {
			t.Errorf("%q: %s", line, strings.Join(shownCombined(g), ", "))
		}
		checkSteps(t, g)
	}
}

// checkSteps checks that a combined graph refers to its own steps only.
func checkSteps(t *testing.T, g *plan.Graph) {
	t.Helper()
	for n, s := range g.Steps {
		refs := slices.Clone(s.Deps)
		switch op := s.Op.(type) {
		case *plan.Copy:
			refs = append(refs, op.From.Step)
		case *plan.Run:
			for _, m := range op.Mounts {
				refs = append(refs, m.From.Step)
			}
		}
		for _, r := range append(refs, s.Parent) {
			if r != nil && (r.ID >= n || g.Steps[r.ID] != r) {
				t.Errorf("step %d refers to another graph's step", n)
			}
		}
		if s.ID != n || s.Stage == nil {
			t.Errorf("step %d has ID %d", n, s.ID)
		}
	}
}

// hidden lists what JSON leaves out of a type, by which steps would be taken for the same that are not.
func hidden(t reflect.Type, path string, seen map[reflect.Type]bool) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return hidden(t.Elem(), path, seen)
	case reflect.Map:
		return append(hidden(t.Key(), path, seen), hidden(t.Elem(), path, seen)...)
	case reflect.Func, reflect.Chan:
		return []string{path}
	case reflect.Struct:
	default:
		return nil
	}
	if seen[t] || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	seen[t] = true
	var found []string
	for i := range t.NumField() {
		f := t.Field(i)
		at := path + "." + f.Name
		if !f.IsExported() || f.Tag.Get("json") == "-" {
			found = append(found, at)
			continue
		}
		found = append(found, hidden(f.Type, at, seen)...)
	}
	return found
}

func TestNothingOfAStepIsHiddenWhenStepsAreCompared(t *testing.T) {
	for _, v := range []any{plan.Step{}, plan.Base{}, plan.Config{}, plan.Workdir{}, plan.Run{}, plan.Copy{}} {
		if found := hidden(reflect.TypeOf(v), fmt.Sprintf("%T", v), map[reflect.Type]bool{}); len(found) > 0 {
			t.Errorf("left out: %s", strings.Join(found, ", "))
		}
	}
}
