package build_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// edit is a change between two builds, with the steps that have to run in the second one.
type edit struct {
	name string
	// dockerfile has no FROM: it follows the lines of head; or else it is all of the file.
	dockerfile string
	// files are those of the context, besides the Dockerfile and the file id.
	files map[string]string
	// begin is called before the first build, nil: nothing is; change between the two.
	begin, change func(p *project)
	// runs are the beginnings of the instructions that run in the second build, in any order, with a | between them.
	runs string
	// impure says that the result doesn't depend on the inputs alone.
	impure bool
}

// head is what most Dockerfiles begin with. The file id has the name of the edit, so that no two share a step.
const head = "FROM base\nCOPY id /id\n"

// machines are two with a store each, on which the image base is.
type machines [2]*build.Session

// project is a directory that is built, before and after an edit.
type project struct {
	*testing.T
	dir string
	// request is that of the next builds.
	request build.Request
	on      machines
	// during is called with what a RUN step writes to its output; nil: nothing is.
	during func(output string)
}

// TestEditsRunTheStepsThatTheyReachAndNoOthers builds, edits and builds again: on one machine, and on a second one that
// has the first one's cache. Whatever was cached, the image is that of a build without a cache.
func TestEditsRunTheStepsThatTheyReachAndNoOthers(t *testing.T) {
	t.Parallel()
	shell, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for name, edits := range map[string][]edit{
		"files": editsOfFiles(), "directories": editsOfDirectories(), "instructions": editsOfInstructions(),
		"steps": editsOfSteps(), "sources": editsOfSources(), "builds": editsOfBuilds(),
	} {
		for _, e := range edits {
			if seen[e.name] {
				t.Errorf("two edits are named %q", e.name)
			}
			seen[e.name] = true
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Stores of few images: each build writes the records of all layers anew.
			on := machines{newSession(t), newSession(t)}
			on.image(t, "base", map[string]string{"sh": string(shell)}, "FROM scratch\nCOPY --chmod=755 sh /bin/sh\n")
			for i, e := range edits {
				if testing.Short() && i%5 != 0 {
					continue
				}
				t.Run(strings.ReplaceAll(e.name, " ", "_"), func(t *testing.T) {
					t.Parallel()
					e.try(t, on)
				})
			}
		})
	}
}

// try builds before and after the edit.
func (e edit) try(t *testing.T, on machines) {
	t.Helper()
	p := newProject(t, on, e)
	// The digests of files that are younger are not kept, and what is to be tested is what is kept.
	p.age(time.Now().Add(-time.Hour))
	cacheTo := p.saveTo()
	first, ran := p.build(on[0])
	if len(ran) != first.Steps {
		t.Fatalf("the first build runs %q of %d steps", ran, first.Steps)
	}
	p.request.CacheTo = nil
	e.change(p)
	second, ran := p.build(on[0])
	check(t, "the same machine", e.runs, ran)
	p.request.CacheFrom = cacheTo
	third, ran := p.build(on[1])
	check(t, "another machine", e.runs, ran)
	p.request.CacheFrom, p.request.NoCache = nil, true
	clean, _ := p.build(on[0])
	if !e.impure && (second.ImageID != clean.ImageID || third.ImageID != clean.ImageID) {
		t.Errorf("without a cache the image is %s, with it %s, on the other machine %s", clean.ImageID,
			second.ImageID, third.ImageID)
	}
}

// check compares the steps that ran.
func check(t *testing.T, where, want string, ran []string) {
	t.Helper()
	left := slices.Clone(ran)
	for text := range strings.SplitSeq(want, "|") {
		i := slices.IndexFunc(left, func(ran string) bool { return strings.HasPrefix(ran, text) })
		if text != "" && i < 0 {
			t.Errorf("on %s %q isn't run, only %q", where, text, ran)
		}
		if text != "" && i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	if len(left) > 0 {
		t.Errorf("on %s %q is run in vain", where, left)
	}
}

// image makes an image on both machines, the same one.
func (on machines) image(t *testing.T, name string, files map[string]string, dockerfile string) {
	t.Helper()
	dir := contextOf(t, files)
	write(t, filepath.Join(dir, "Dockerfile"), dockerfile)
	date := time.Unix(1_000_000_000, 0)
	var run build.RunOptions
	run.Network = "host"
	for _, s := range on {
		if _, err := build.Build(t.Context(), s, build.Request{Context: dir, Tags: []string{name}, Timestamp: &date,
			Run: run}); err != nil {
			t.Fatal(err)
		}
	}
}

// newProject makes the context of an edit.
func newProject(t *testing.T, on machines, e edit) *project {
	t.Helper()
	date := time.Unix(1_000_000_000, 0)
	p := &project{T: t, on: on, dir: contextOf(t, e.files)}
	p.request = build.Request{Context: p.dir, Timestamp: &date,
		BuildArgs: map[string]*string{}, Contexts: map[string]build.NamedContext{}}
	p.request.Run.Network = "host"
	p.write("id", e.name)
	p.dockerfile(e.dockerfile)
	if e.begin != nil {
		e.begin(p)
	}
	return p
}

// dockerfile writes the Dockerfile.
func (p *project) dockerfile(text string) {
	p.Helper()
	if !strings.HasPrefix(text, "FROM ") && !strings.HasPrefix(text, "ARG ") {
		text = head + text
	}
	p.write("Dockerfile", text)
}

// edited replaces a text in the Dockerfile.
func (p *project) edited(old, now string) {
	p.Helper()
	text := p.read("Dockerfile")
	if !strings.Contains(text, old) {
		p.Fatalf("there is no %q in the Dockerfile", old)
	}
	p.write("Dockerfile", strings.Replace(text, old, now, 1))
}

func (p *project) path(name string) string { return filepath.Join(p.dir, name) }

func (p *project) read(name string) string {
	p.Helper()
	text, err := os.ReadFile(p.path(name))
	p.must(err)
	return string(text)
}

// write writes to a file, in place; its mode is 0644.
func (p *project) write(name, text string) {
	p.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	write(p.T, p.path(name), text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (p *project) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// xattr sets an extended attribute of a file.
func (p *project) xattr(name, key, value string) {
	p.Helper()
	p.must(unix.Setxattr(p.path(name), key, []byte(value), 0))
}

// arg sets a build argument.
func (p *project) arg(name, value string) { p.request.BuildArgs[name] = &value }

// named gives a directory as a named context.
func (p *project) named(name, dir string) {
	p.Helper()
	key, c, err := build.ParseContext(name + "=" + dir)
	p.must(err)
	p.request.Contexts[key] = c
}

// age sets the times of all files.
func (p *project) age(to time.Time) {
	p.Helper()
	p.must(filepath.WalkDir(p.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		spec := unix.NsecToTimespec(to.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{spec, spec}, unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// saveTo has the next builds write a cache, and gives the places to read it from.
func (p *project) saveTo() []sharedcache.Spec {
	p.Helper()
	dir := p.TempDir()
	to, err := sharedcache.To("type=local,mode=max,dest=" + dir)
	p.must(err)
	from, err := sharedcache.From("type=local,src=" + dir)
	p.must(err)
	p.request.CacheTo = to
	return from
}

// build builds, and gives the instructions that were run.
func (p *project) build(s *build.Session) (build.Result, []string) {
	p.Helper()
	steps := &ranSteps{during: p.during, texts: map[int]string{}}
	p.request.Progress = steps
	res, err := build.Build(p.Context(), s, p.request)
	if err != nil {
		p.Fatal(err)
	}
	return res, steps.ran
}

// ranSteps keeps the instructions of the steps that were run.
type ranSteps struct {
	during func(output string)

	mu    sync.Mutex
	texts map[int]string
	ran   []string
}

func (r *ranSteps) Emit(e progress.Event) {
	if output, ok := e.(progress.StepOutput); ok && r.during != nil {
		r.during(string(output.Data))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := e.(type) {
	case progress.StepStarted:
		r.texts[e.ID] = e.Text
	case progress.StepDone:
		if !e.Cached && e.Err == nil && !strings.HasPrefix(r.texts[e.ID], "fetching") &&
			!strings.HasPrefix(r.texts[e.ID], "writing") {
			r.ran = append(r.ran, r.texts[e.ID])
		}
	}
}
