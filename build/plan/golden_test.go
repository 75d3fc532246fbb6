package plan_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

var update = flag.Bool("update", false, "write the golden files")

// images is a resolver that knows a few images and counts how often it is asked.
type images struct{ asked map[string]int }

func (r images) Resolve(_ context.Context, ref string, p plan.Wanted) (imagebuilder.Base, error) {
	configs := map[string]string{
		"alpine":      `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/bin:/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"busybox":     `{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"golang":      `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/go/bin:/usr/bin","GOPATH=/go"],"WorkingDir":"/go"},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"appbase":     `{"architecture":"amd64","os":"linux","author":"them","config":{"User":"app","Env":["PATH=/bin","APP=1"],"Entrypoint":["/entry"],"Cmd":["serve"],"WorkingDir":"app","Labels":{"from":"base"},"ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}},"StopSignal":"SIGINT","StopTimeout":3,"Shell":["/bin/ash","-c"],"Healthcheck":{"Test":["CMD","x"],"Interval":1000000000}},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"onbuildbase": `{"architecture":"amd64","os":"linux","config":{"OnBuild":["COPY . /app","RUN --mount=from=busybox,target=/bb make","ENV BUILT=1"]},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"otherarch":   `{"architecture":"s390x","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"badtrigger":  `{"architecture":"amd64","os":"linux","config":{"OnBuild":["FROM x"]},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"badtrigger2": `{"architecture":"amd64","os":"linux","config":{"OnBuild":["RUN --nope x"]},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"badtrigger3": `{"architecture":"amd64","os":"linux","config":{"OnBuild":["RUN one\nRUN two"]},"rootfs":{"type":"layers","diff_ids":[]}}`,
		"badtrigger4": `{"architecture":"amd64","os":"linux","config":{"OnBuild":["# check=skip=all\nSTOPSIGNAL SIGNOPE"]},"rootfs":{"type":"layers","diff_ids":[]}}`,
	}
	platform, err := json.Marshal(p.Platform)
	if err != nil {
		return imagebuilder.Base{}, err
	}
	configs["multi"] = strings.TrimSuffix(string(platform), "}") +
		`,"config":{"Cmd":["/"]},"rootfs":{"type":"layers","diff_ids":[]}}`
	if r.asked != nil {
		r.asked[ref+" "+p.Architecture]++
	}
	name, _, _ := strings.Cut(ref, "@")
	name, _, _ = strings.Cut(name, ":")
	text, ok := configs[strings.TrimPrefix(name, "docker.io/library/")]
	if !ok {
		return imagebuilder.Base{}, errors.New("no such image")
	}
	img, err := imagebuilder.ParseImage([]byte(text))
	return imagebuilder.Base{ID: "id-" + name, Name: ref, Image: img, Config: []byte(text)}, err
}

func options() plan.Options {
	amd64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	return plan.Options{Platform: amd64, BuildPlatform: amd64, Resolver: images{}}
}

func value(s string) *string { return &s }

// goldenOptions are the options of the golden cases that need any.
func goldenOptions() map[string]func(*plan.Options) {
	return map[string]func(*plan.Options){
		"build-args": func(o *plan.Options) {
			o.BuildArgs = map[string]*string{"VERSION": value("2"), "LEVEL": value("high"), "UNSET": nil, "LEVVEL": value("x"),
				"BUILDKIT_X": value("1")}
		},
		"proxy-args": func(o *plan.Options) {
			o.BuildArgs = map[string]*string{"HTTP_PROXY": value("http://p:1"), "no_proxy": value("local")}
		},
		"run-forms": func(o *plan.Options) { o.HostNetwork = true },
		"run-security": func(o *plan.Options) {
			o.Insecure, o.HostNetwork = true, true
			o.BuildArgs = map[string]*string{"BUILDKIT_SANDBOX_HOSTNAME": value("box")}
		},
		"target": func(o *plan.Options) {
			o.Target = "TWO"
			o.Labels = map[string]string{"cli": "1", "a": "c"}
		},
		"named-contexts": func(o *plan.Options) {
			o.Contexts = map[string]plan.NamedContext{
				"base":    {Kind: plan.ContextImage, Ref: "golang:1"},
				"assets":  {Kind: plan.ContextDirectory, Ref: "./assets"},
				"tools":   {Kind: plan.ContextImage, Ref: "scratch"},
				"busybox": {Kind: plan.ContextImage, Ref: "busybox:other"},
				"unused":  {Kind: "git", Ref: "git@example.com:x"},
			}
		},
		"platform-cross": func(o *plan.Options) { o.Platform = ocispec.Platform{OS: "linux", Architecture: "arm"} },
		"platform-scratch": func(o *plan.Options) {
			o.Platform = ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
		},
		"platform-native-base": func(o *plan.Options) {
			o.Platform = ocispec.Platform{OS: "linux", Architecture: "arm",
				Variant: "v6"}
		},
		"platform-of-base":   func(o *plan.Options) { o.Platform = ocispec.Platform{} },
		"platform-copy-only": func(o *plan.Options) { o.Platform = ocispec.Platform{OS: "wasip1", Architecture: "wasm"} },
		"platform-overridden": func(o *plan.Options) {
			o.BuildArgs = map[string]*string{"TARGETARCH": value("s390x"), "BUILDARCH": value("vax"),
				"TARGETPLATFORM": value("linux/riscv64")}
		},
		"context-as-base": func(o *plan.Options) {
			o.Contexts = map[string]plan.NamedContext{
				"rootfs": {Kind: plan.ContextDirectory, Ref: "/rootfs"},
				"dir":    {Kind: plan.ContextDirectory, Ref: "/dir"},
			}
		},
	}
}

func TestPlansMatchTheGoldenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.Dockerfile")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d golden Dockerfiles, %v", len(files), err)
	}
	for _, name := range files {
		base := strings.TrimSuffix(filepath.Base(name), ".Dockerfile")
		t.Run(base, func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			o := options()
			if set := goldenOptions()[base]; set != nil {
				set(&o)
			}
			f, err := dockerfile.Parse("Dockerfile", text, dockerfile.Options{})
			if err != nil {
				t.Fatal(err)
			}
			g, err := plan.Make(t.Context(), f, o)
			if err != nil {
				t.Fatal(err)
			}
			checkGraph(t, g)
			again, err := plan.Make(t.Context(), f, o)
			if err != nil {
				t.Fatalf("planning the same file again: %v", err)
			}
			got := render(t, g)
			if !bytes.Equal(got, render(t, again)) {
				t.Error("planning the same file twice gives two plans")
			}
			golden := strings.TrimSuffix(name, ".Dockerfile") + ".json"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the plan differs from %s (-update writes it):\n%s", golden, got)
			}
		})
	}
}

// checkGraph checks what holds for every graph.
func checkGraph(t *testing.T, g *plan.Graph) {
	t.Helper()
	for n, s := range g.Steps {
		if s.ID != n {
			t.Errorf("step %d has ID %d", n, s.ID)
		}
		if s.Number > s.Total {
			t.Errorf("step %d is %d of %d", n, s.Number, s.Total)
		}
		seen := map[*plan.Step]bool{}
		for _, d := range s.Deps {
			if d.ID >= n || g.Steps[d.ID] != d || seen[d] {
				t.Errorf("step %d has a wrong dependency: %d", n, d.ID)
			}
			seen[d] = true
		}
		if s.Parent != nil && !seen[s.Parent] {
			t.Errorf("step %d doesn't depend on its parent", n)
		}
		if _, isBase := s.Op.(*plan.Base); isBase != (s.Parent == nil) {
			t.Errorf("step %d: base %v, parent %v", n, isBase, s.Parent)
		}
	}
	for n, st := range g.Stages {
		if st.Last == nil || (n > 0 && g.Stages[n-1].Index >= st.Index) {
			t.Errorf("stage %d is out of place", st.Index)
		}
	}
	if g.Target == nil || g.Target.Last == nil {
		t.Error("no target")
	}
}

// shownStep is a step as the golden files have it.
type shownStep struct {
	Step      string
	Lines     string
	Text      string
	CreatedBy string `json:",omitempty"`
	Parent    *int   `json:",omitempty"`
	Deps      []int  `json:",omitempty"`
	Op        string
	Details   any `json:",omitempty"`
}

func render(t *testing.T, g *plan.Graph) []byte {
	t.Helper()
	type shownStage struct {
		Index  int
		Name   string
		Last   int
		Config json.RawMessage
	}
	var out struct {
		Steps    []shownStep
		Stages   []shownStage
		Target   string
		Warnings []string `json:",omitempty"`
	}
	for _, s := range g.Steps {
		out.Steps = append(out.Steps, show(s))
	}
	for _, st := range g.Stages {
		config, err := st.Image.MarshalConfig(nil, time.Time{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		out.Stages = append(out.Stages, shownStage{st.Index, st.Name, st.Last.ID, config})
	}
	out.Target = g.Target.Name
	for _, w := range g.Warnings {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d: %s: %s", w.Location.StartLine, w.Rule, w.Message))
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func show(s *plan.Step) shownStep {
	out := shownStep{
		Step:  fmt.Sprintf("%d [%s %d/%d]", s.ID, s.Stage.Name, s.Number, s.Total),
		Lines: fmt.Sprintf("%d-%d", s.Location.StartLine, s.Location.EndLine),
		Text:  s.Text, CreatedBy: s.CreatedBy, Op: strings.TrimPrefix(fmt.Sprintf("%T", s.Op), "*plan."),
	}
	if s.Parent != nil {
		out.Parent = &s.Parent.ID
	}
	for _, d := range s.Deps {
		out.Deps = append(out.Deps, d.ID)
	}
	switch op := s.Op.(type) {
	case *plan.Base:
		out.Details = op.Ref
	case *plan.Workdir:
		out.Details = op
	case *plan.Copy:
		files := make([]string, 0, len(op.Files))
		for _, f := range op.Files {
			files = append(files, fmt.Sprintf("%s %o %q", f.Path, f.Mode, f.Data))
		}
		details := map[string]any{
			"From": showInput(op.From), "Sources": op.Sources, "Files": files, "Dest": op.Dest, "Chown": op.Chown,
			"Chmod": op.Chmod,
		}
		for flag, set := range map[string]bool{"Unpack": op.Unpack, "Link": op.Link, "Parents": op.Parents} {
			if set {
				details[flag] = true
			}
		}
		if len(op.Excludes) > 0 {
			details["Excludes"] = op.Excludes
		}
		if len(op.Remotes) > 0 {
			details["Remotes"] = showRemotes(op.Remotes)
		}
		out.Details = details
	case *plan.Run:
		out.Details = showRun(op)
	}
	return out
}

func showRemotes(all []plan.Remote) []string {
	var out []string
	for _, r := range all {
		text := fmt.Sprintf("%s before=%d url=%s name=%s checksum=%s unpack=%t", r.Text, r.Before, r.URL, r.Name, r.Checksum,
			r.Unpack)
		if g := r.Git; g.Remote != "" {
			flag := func(b *bool) string {
				if b == nil {
					return "-"
				}
				return strconv.FormatBool(*b)
			}
			text = fmt.Sprintf("%s before=%d remote=%s ref=%s subdir=%s checksum=%s keep=%s submodules=%s commit-times=%t by-commit=%t", r.Text, r.Before, g.Remote,
				g.Ref, g.Subdir, g.Checksum, flag(g.KeepGitDir), flag(g.Submodules), g.CommitTimes, g.ByCommit)
		}
		out = append(out, text)
	}
	return out
}

func showRun(op *plan.Run) any {
	var mounts, files []string
	for _, m := range op.Mounts {
		if m.Type == plan.MountSecret || m.Type == plan.MountSSH {
			mounts = append(mounts, fmt.Sprintf("%s target=%s id=%s mode=%o owner=%d:%d env=%s required=%v", m.Type, m.Target,
				m.ID, m.Mode, m.UID, m.GID, m.Env, m.Required))
			continue
		}
		mounts = append(mounts,
			fmt.Sprintf("%s from=(%s) source=%s target=%s ro=%v id=%s sharing=%s mode=%o owner=%d:%d size=%d",
				m.Type, showInput(m.From), m.Source, m.Target, m.ReadOnly, m.ID, m.Sharing, m.Mode, m.UID, m.GID, m.SizeBytes))
	}
	for _, f := range op.Files {
		files = append(files, fmt.Sprintf("%s %o %q", f.Path, f.Mode, f.Data))
	}
	if op.Insecure || op.Hostname != "" {
		files = append(files, fmt.Sprintf("insecure=%v hostname=%s", op.Insecure, op.Hostname))
	}
	shown := map[string]any{
		"Args": op.Args, "Env": op.Env, "ProxyEnv": op.ProxyEnv, "Cwd": op.Cwd, "User": op.User, "Network": op.Network,
		"Mounts": mounts, "Files": files,
	}
	if p := platforms.FormatAll(op.Platform); p != "linux/amd64" {
		shown["Platform"] = p
	}
	return shown
}

func showInput(in plan.Input) string {
	kind := map[plan.InputKind]string{plan.InputContext: "context", plan.InputStep: "step",
		plan.InputImage: "image"}[in.Kind]
	text := strings.TrimSpace(kind + " " + in.Name)
	if in.Step != nil {
		text += fmt.Sprintf(" step %d", in.Step.ID)
	}
	return text
}
