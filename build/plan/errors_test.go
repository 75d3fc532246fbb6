package plan_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// errorOptions are the options of the failing cases that need any.
func errorOptions() map[string]func(*plan.Options) {
	return map[string]func(*plan.Options){
		"target":            func(o *plan.Options) { o.Target = "biuld" },
		"platform-run-wasm": func(o *plan.Options) { o.Platform = ocispec.Platform{OS: "wasip1", Architecture: "wasm"} },
		"platform-windows":  func(o *plan.Options) { o.Platform = ocispec.Platform{OS: "windows", Architecture: "amd64"} },
		"context-kind": func(o *plan.Options) {
			o.Contexts = map[string]plan.NamedContext{"src": {Kind: "unknown",
				Ref: "x"}}
		},
	}
}

func make1(ctx context.Context, text []byte, o plan.Options) (*plan.Graph, error) {
	f, err := dockerfile.Parse("Dockerfile", text, dockerfile.Options{})
	if err != nil {
		return nil, err
	}
	return plan.Make(ctx, f, o)
}

func TestEachBadDockerfileGivesItsMessage(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.Dockerfile")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d failing Dockerfiles, %v", len(files), err)
	}
	for _, name := range files {
		base := strings.TrimSuffix(filepath.Base(name), ".Dockerfile")
		t.Run(base, func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			o := options()
			if set := errorOptions()[base]; set != nil {
				set(&o)
			}
			_, err = make1(t.Context(), text, o)
			if err == nil {
				t.Fatal("no error")
			}
			if e := new(dockerfile.Error); !errors.As(err, &e) {
				t.Fatalf("not a *dockerfile.Error: %T", err)
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(name, ".Dockerfile") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

type failing struct{ err error }

func (r failing) Resolve(context.Context, string, plan.Wanted) (imagebuilder.Base, error) {
	return imagebuilder.Base{}, r.err
}

func TestResolverErrorsStayVisibleToTheCaller(t *testing.T) {
	cause := errors.New("registry is down")
	o := options()
	o.Resolver = failing{cause}
	_, err := make1(t.Context(), []byte("FROM alpine\n"), o)
	if !errors.Is(err, cause) {
		t.Errorf("%v doesn't wrap the resolver's error", err)
	}
	o.Resolver = nil
	if _, err := make1(t.Context(), []byte("FROM alpine\n"), o); err == nil {
		t.Error("an image without a resolver is found")
	}
	if _, err := make1(t.Context(), []byte("FROM scratch\nCOPY a /\n"), o); err != nil {
		t.Errorf("scratch needs a resolver: %v", err)
	}
}

func TestImagesAreResolvedOnceAndOnlyIfNeeded(t *testing.T) {
	asked := map[string]int{}
	o := options()
	o.Resolver = images{asked}
	_, err := make1(t.Context(), []byte(`FROM alpine AS a
FROM golang AS unused
COPY --from=nowhere / /
FROM alpine
COPY --from=a / /
COPY --from=busybox / /
RUN --mount=from=busybox,target=/x true
`), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) != 2 || asked["alpine amd64"] != 1 || asked["busybox amd64"] != 1 {
		t.Errorf("asked for %v", asked)
	}
}

func TestACanceledContextEndsPlanning(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := make1(ctx, []byte("FROM alpine\n"), options()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestPlatformsAreNormalised(t *testing.T) {
	machine := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	for text, want := range map[string]string{
		"linux/arm64/v8": "linux/arm64", "linux/arm64/v9": "linux/arm64/v9", "linux/arm": "linux/arm/v7",
		"linux/arm/6": "linux/arm/v6",
		"linux/armhf": "linux/arm/v7", "armel": "linux/arm/v6", "linux/x86_64": "linux/amd64",
		"linux/amd64/v1": "linux/amd64",
		"amd64/v2":       "", "linux/amd64/v2": "linux/amd64/v2", "aarch64": "linux/arm64", "LINUX/I386": "linux/386",
		"macos/arm64": "darwin/arm64",
		"linux":       "linux/amd64", "freebsd": "freebsd/amd64", "wasip1/wasm": "wasip1/wasm",
		"linux/riscv64":             "linux/riscv64",
		"windows(10.0.17763)/amd64": "windows(10.0.17763)/amd64", "": "", "linux/": "", "linux/a/b/c": "", "linux/*": "",
		"vax": "", "a b/c": "",
	} {
		got, err := plan.ParsePlatform(text, machine)
		if (err == nil) != (want != "") || (err == nil && platforms.FormatAll(got) != want) {
			t.Errorf("%q: %+v %v, want %q", text, got, err, want)
		}
	}
}

func TestPlatformSpellingsOfThisMachineAreAccepted(t *testing.T) {
	for _, p := range []string{"linux/amd64", "amd64", "linux", "linux/x86_64", "Linux/AMD64", "linux/amd64/v1",
		"$TARGETPLATFORM", "${BUILDOS}/$BUILDARCH"} {
		if _, err := make1(t.Context(), []byte("FROM --platform="+p+" alpine\n"), options()); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestThousandStepsStayLinear(t *testing.T) {
	var b strings.Builder
	b.WriteString("FROM alpine\n")
	for range 1000 {
		b.WriteString("RUN true\nENV A=$A:x\n")
	}
	g, err := make1(t.Context(), []byte(b.String()), options())
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Steps) != 2001 {
		t.Errorf("%d steps", len(g.Steps))
	}
}
