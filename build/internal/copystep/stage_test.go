package copystep_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// stage is the root that a COPY makes, for others to copy from.
func (b build) stage(t *testing.T, op *plan.Copy) (*rootfs.Root, func(*plan.Step) *rootfs.Root) {
	t.Helper()
	r, _ := b.make(t, b.Copy(&plan.Step{}, op, noStep))
	return r, func(*plan.Step) *rootfs.Root { return r }
}

func fromStage() plan.Input { return plan.Input{Kind: plan.InputStep, Step: &plan.Step{}} }

// on is the root that work makes on another one.
func (b build) on(t *testing.T, below *rootfs.Root, w rootfs.Work) (*rootfs.Root, bool) {
	t.Helper()
	r, cached, err := b.roots.Make(t.Context(), &plan.Step{}, below, w)
	if err = errors.Join(err, b.roots.Wait()); err != nil {
		t.Fatal(err)
	}
	return r, cached
}

// fail is the error of work that must not succeed.
func (b build) fail(t *testing.T, w rootfs.Work) string {
	t.Helper()
	step := &plan.Step{}
	step.Location.File, step.Location.StartLine = "Dockerfile", 3
	_, _, err := b.roots.Make(t.Context(), step, rootfs.Scratch(), w)
	if err == nil {
		t.Fatal("it succeeded")
	}
	return err.Error()
}

// look lists the files of a root: name, kind and mode, owner.
func (b build) look(t *testing.T, r *rootfs.Root) []string {
	t.Helper()
	view, err := b.roots.View(t.Context(), r, rootfs.NS{})
	if err != nil {
		t.Fatal(err)
	}
	dir, release := view.Dir, view.Release
	defer func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	}()
	var all []string
	top := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/"
	err = filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && path != top {
			err = unix.Lstat(path, &st)
			all = append(all, strings.TrimPrefix(path, top)+" "+strconv.FormatUint(uint64(st.Mode), 8)+" "+
				strconv.Itoa(int(st.Uid))+":"+strconv.Itoa(int(st.Gid)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFilesOfAStageKeepTheirOwners(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	_, done := b.stage(t, &plan.Copy{Sources: []string{"a"}, Dest: "/d/", Chown: "7:8", Chmod: "0640"})
	kept, _ := b.make(t, b.Copy(&plan.Step{}, &plan.Copy{From: fromStage(), Sources: []string{"/d"}, Dest: "/e/"}, done))
	if got := b.look(t, kept); !slices.Contains(got, "e/a 100640 7:8") {
		t.Errorf("it has %q", got)
	}
	given, _ := b.make(t, b.Copy(&plan.Step{},
		&plan.Copy{From: fromStage(), Sources: []string{"/d"}, Dest: "/e/", Chown: "9"}, done))
	if got := b.look(t, given); !slices.Contains(got, "e/a 100640 9:9") {
		t.Errorf("with an owner it has %q", got)
	}
	of, _ := b.make(t, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a"}, Dest: "/e/"}, noStep))
	if got := b.look(t, of); !slices.Contains(got, "e/a 100600 0:0") {
		t.Errorf("of a context it has %q", got)
	}
}

func TestAnotherStageWithTheSameFilesGivesTheSameLayer(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1", "b": "2"})
	op := &plan.Copy{From: fromStage(), Sources: []string{"/a"}, Dest: "/d"}
	one, fromOne := b.stage(t, &plan.Copy{Sources: []string{"a"}, Dest: "/"})
	first, _ := b.make(t, b.Copy(&plan.Step{}, op, fromOne))
	two, _ := b.on(t, one, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"b"}, Dest: "/"}, noStep))
	fromTwo := func(*plan.Step) *rootfs.Root { return two }
	again, cached := b.make(t, b.Copy(&plan.Step{}, op, fromTwo))
	if !cached || again.Top() != first.Top() {
		t.Errorf("cached %v, layer %.12s after %.12s", cached, again.Top(), first.Top())
	}
	// The files are looked at only if the stage as a whole isn't known.
	if n := len(b.Copy(&plan.Step{}, op, fromTwo).Keys()); n != 2 {
		t.Errorf("of a stage there are %d keys", n)
	}
	if n := len(b.Copy(&plan.Step{}, op, noStep).Keys()); n != 1 {
		t.Errorf("of a context there are %d keys", n)
	}
}

func TestFilesOfAStageAreNotWatched(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	_, done := b.stage(t, &plan.Copy{Sources: []string{"a"}, Dest: "/"})
	w := b.Copy(&plan.Step{}, &plan.Copy{From: fromStage(), Sources: []string{"/a"}, Dest: "/d"}, done)
	if stable, err := w.Stable(t.Context()); !stable || err != nil {
		t.Errorf("stable %v, %v", stable, err)
	}
	w = b.Copy(&plan.Step{}, &plan.Copy{Files: []plan.InlineFile{{Path: "f"}}, Dest: "/d/"}, noStep)
	if stable, err := w.Stable(t.Context()); !stable || err != nil {
		t.Errorf("a heredoc: stable %v, %v", stable, err)
	}
}

func TestALinkedCopyIsTheSameOnEveryRoot(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1", "b": "2"})
	op := &plan.Copy{Sources: []string{"a"}, Dest: "/d/", Link: true}
	w := b.Copy(&plan.Step{}, op, noStep)
	if !w.Shape().Linked {
		t.Error("it depends on what is below")
	}
	k := w.Keys()[0]
	one, err := k(t.Context(), "one")
	two, again := k(t.Context(), "two")
	if one != two || err != nil || again != nil {
		t.Errorf("it has two keys; %v, %v", err, again)
	}
	below, _ := b.make(t, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"b"}, Dest: "/d/"}, noStep))
	b.on(t, rootfs.Scratch(), w)
	r, cached := b.on(t, below, b.Copy(&plan.Step{}, op, noStep))
	if got := b.read(t, r, "d/a") + b.read(t, r, "d/b"); got != "12" || !cached {
		t.Errorf("on another root it has %q, cached %v", got, cached)
	}
	if plain := b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a"}, Dest: "/d/"}, noStep); plain.Shape().Linked {
		t.Error("without --link it is linked")
	}
}

func TestALinkedCopyTakesOwnersByNumberOnly(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	op := &plan.Copy{Sources: []string{"a"}, Dest: "/d/", Link: true, Chown: "7:8"}
	r, _ := b.make(t, b.Copy(&plan.Step{}, op, noStep))
	if got := b.look(t, r); !slices.Contains(got, "d/a 100600 7:8") {
		t.Errorf("it has %q", got)
	}
	op = &plan.Copy{Sources: []string{"a"}, Dest: "/d/", Link: true, Chown: "somebody"}
	if got := b.fail(t, b.Copy(&plan.Step{}, op, noStep)); !strings.HasPrefix(got, "--chown=somebody: ") ||
		!strings.Contains(got, "hint: with --link nothing of the image is looked at: give numbers") {
		t.Errorf("by name: %s", got)
	}
}

func TestOwnersAreLookedUpInTheImageBelow(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"passwd": "me:x:11:12::/:\n", "group": "us:x:13:\n", "a": "1"})
	below, _ := b.make(t, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"passwd", "group"}, Dest: "/etc/"}, noStep))
	for chown, want := range map[string]string{"me": "11:12", "me:us": "11:13", ":us": "0:13", "5:us": "5:13",
		"5": "5:5"} {
		r, _ := b.on(t, below, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a"}, Dest: "/a", Chown: chown}, noStep))
		if got := b.look(t, r); !slices.Contains(got, "a 100600 "+want) {
			t.Errorf("--chown=%s: %q", chown, got)
		}
	}
}

func TestHeredocsAreWritten(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	op := &plan.Copy{Sources: []string{"a"}, Dest: "/d/", Files: []plan.InlineFile{
		{Path: "one", Mode: 0o644, Data: []byte("text")}, {Path: "two", Mode: 0o600}}}
	r, _ := b.make(t, b.Copy(&plan.Step{}, op, noStep))
	if got := b.read(t, r, "d/one") + b.read(t, r, "d/two") + b.read(t, r, "d/a"); got != "text1" {
		t.Errorf("they have %q", got)
	}
	keys := map[cache.Key]bool{}
	for _, f := range []plan.InlineFile{{Path: "one", Mode: 0o644}, {Path: "two", Mode: 0o644}, {Path: "one", Mode: 0o600},
		{Path: "one", Mode: 0o644, Data: []byte("x")}} {
		keys[key(t, b.Copy(&plan.Step{}, &plan.Copy{Dest: "/d/", Files: []plan.InlineFile{f}}, noStep))] = true
	}
	if len(keys) != 4 {
		t.Errorf("four files have %d keys", len(keys))
	}
}

func TestTheDigestOfALargeFileComesFromTheLayer(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("large", 1<<19)
	b := newBuild(t, map[string]string{"large": large, "copy": large, "other": large + "x"})
	op := &plan.Copy{Sources: []string{"large", "copy"}, Dest: "/d/"}
	b.make(t, b.Copy(&plan.Step{}, op, noStep))
	if _, cached := b.make(t, b.Copy(&plan.Step{}, op, noStep)); !cached {
		t.Error("the second time it is copied again")
	}
	// The digest is that of the content: another context with the same files, which is read in full, has the same key.
	same := newBuild(t, map[string]string{"large": large, "copy": large})
	if key(t, b.Copy(&plan.Step{}, op, noStep)) != key(t, same.Copy(&plan.Step{}, op, noStep)) {
		t.Error("where it is read it has another key")
	}
	if err := os.Rename(filepath.Join(b.context, "other"), filepath.Join(b.context, "large")); err != nil {
		t.Fatal(err)
	}
	r, cached := b.make(t, b.Copy(&plan.Step{}, op, noStep))
	if got := b.read(t, r, "d/large"); cached || got != large+"x" {
		t.Errorf("another large file in its place: cached %v, %d bytes", cached, len(got))
	}
}

func TestErrorsOfSourcesNameThem(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{".dockerignore": "hidden\n", "hidden": "x", "a": "1", "b": "2"})
	for want, op := range map[string]*plan.Copy{
		`nowhere`: {Sources: []string{"nowhere"}, Dest: "/d"},
		`hidden`:  {Sources: []string{"hidden"}, Dest: "/d"},
		`/d`:      {Sources: []string{"a", "b"}, Dest: "/d"},
		`0888`:    {Sources: []string{"a"}, Dest: "/d", Chmod: "0888"},
	} {
		if got := b.fail(t, b.Copy(&plan.Step{}, op, noStep)); !strings.Contains(got, want) {
			t.Errorf("%+v: %s", op, got)
		}
	}
}

// notes remembers what a build says.
type notes struct {
	mu   sync.Mutex
	text []string
}

func (n *notes) Emit(e progress.Event) {
	if note, ok := e.(progress.Note); ok {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.text = append(n.text, note.Text)
	}
}

// archive has the headers' files, each filled with zeros.
func archive(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func tarFile(name string) tar.Header { return tar.Header{Name: name, Size: 1, Mode: 0o600} }

func TestArchivesAreUnpackedByAddAlone(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a.tar": archive(t, tar.Header{Name: "f", Size: 1, Mode: 0o640, Uid: 5, Gid: 6})})
	r, _ := b.make(t, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a.tar"}, Dest: "/d/", Unpack: true}, noStep))
	if got := b.look(t, r); !slices.Contains(got, "d/f 100640 5:6") || len(got) != 2 {
		t.Errorf("unpacked it has %q", got)
	}
	r, _ = b.make(t, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a.tar"}, Dest: "/d/"}, noStep))
	if got := b.look(t, r); !slices.Contains(got, "d/a.tar 100600 0:0") || len(got) != 2 {
		t.Errorf("copied it has %q", got)
	}
}

func TestAnArchiveDoesNotWriteOutsideOfTheRoot(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	archives := map[string][]tar.Header{
		"up.tar":   {tarFile("../../../../../../../../../.." + outside)},
		"link.tar": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: filepath.Dir(outside)}, tarFile("l/outside")},
		"hard.tar": {{Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
	}
	files := map[string]string{}
	for name, headers := range archives {
		files[name] = archive(t, headers...)
	}
	b := newBuild(t, files)
	for name := range archives {
		w := b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{name}, Dest: "/d/", Unpack: true}, noStep)
		_, _, err := b.roots.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), w)
		err = errors.Join(err, b.roots.Wait())
		if _, outErr := os.Lstat(outside); outErr == nil {
			t.Errorf("%s has written outside", name)
		}
		if err == nil && name != "link.tar" || err != nil && !strings.Contains(err.Error(), "/"+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.roots.Wait(); err != nil { // nothing may write to the store after the test
		t.Error(err)
	}
}

func TestAPatternWithoutMatchesIsNotedWithItsPlace(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	said := &notes{}
	b.roots.Progress = said
	step := &plan.Step{}
	step.Location.File, step.Location.StartLine = "Dockerfile", 3
	w := b.Copy(step, &plan.Copy{Sources: []string{"a", "*.none"}, Dest: "/d/"}, noStep)
	_, _, err := b.roots.Make(t.Context(), step, rootfs.Scratch(), w)
	if err = errors.Join(err, b.roots.Wait()); err != nil {
		t.Fatal(err)
	}
	if len(said.text) != 1 || !strings.HasPrefix(said.text[0], "Dockerfile:3: nothing is copied for ") ||
		!strings.Contains(said.text[0], "*.none") {
		t.Errorf("it says %q", said.text)
	}
}

func TestACopyEndsWithTheBuild(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	_, _, err := b.roots.Make(ctx, &plan.Step{}, rootfs.Scratch(),
		b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"."}, Dest: "/d/"}, noStep))
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestWorkdirGoesToItsUserAndLeavesWhatIsThere(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"passwd": "me:x:11:12::/:\n", "a": "1"})
	below, _ := b.make(t, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"passwd"}, Dest: "/etc/"}, noStep))
	r, _ := b.on(t, below, b.Workdir(&plan.Workdir{Path: "/etc/x/y", User: "me"}))
	got := b.look(t, r)
	for _, want := range []string{"etc 40755 0:0", "etc/passwd 100600 0:0", "etc/x/y 40755 11:12"} {
		if !slices.Contains(got, want) {
			t.Errorf("there is no %s in %q", want, got)
		}
	}
	again, _ := b.on(t, r, b.Workdir(&plan.Workdir{Path: "/etc/x/y", User: "0"}))
	if again.Top() != r.Top() {
		t.Error("what is there already makes a layer")
	}
	_, _, err := b.roots.Make(t.Context(), &plan.Step{}, below, b.Workdir(&plan.Workdir{Path: "/etc/passwd/x"}))
	if err == nil || !strings.Contains(err.Error(), "/etc/passwd") {
		t.Errorf("below a file: %v", err)
	}
	w := b.Workdir(&plan.Workdir{Path: "/x", User: "me"})
	if stable, err := w.Stable(t.Context()); !stable || err != nil {
		t.Errorf("stable %v, %v", stable, err)
	}
	if key(t, w) == key(t, b.Workdir(&plan.Workdir{Path: "/x"})) {
		t.Error("two users have one key")
	}
}

// A file of another stage is neither copied nor read again but for its layer's diffID; the layer is the same as that
// of a copy.
func TestALargeFileOfAStageIsLinked(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": strings.Repeat("a", layer.LargeFileSize)})
	stage, done := b.stage(t, &plan.Copy{Sources: []string{"a"}, Dest: "/"})
	w := b.Copy(&plan.Step{}, &plan.Copy{From: fromStage(), Sources: []string{"/a"}, Dest: "/b/"}, done)
	linked, _ := b.make(t, w)
	copied, _ := b.make(t, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a"}, Dest: "/b/"}, noStep))
	if linked.Content() != copied.Content() || linked.Own() == nil {
		t.Fatalf("linked it has the content %s, copied %s", linked.Content(), copied.Content())
	}
	have, err := b.roots.Store.Layer(linked.Own().ID)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := b.roots.Store.LayerTar(have)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := digest.FromReader(archive); d != linked.Own().DiffID || errors.Join(err, archive.Close()) != nil {
		t.Errorf("the layer's archive has the digest %s, %v, not %s", d, err, linked.Own().DiffID)
	}
	inode := func(r *rootfs.Root, name string) uint64 {
		view, err := b.roots.View(t.Context(), r, rootfs.NS{})
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		err = errors.Join(unix.Fstatat(int(view.Dir.Fd()), name, &st, 0), view.Release())
		if err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	if inode(stage, "a") != inode(linked, "b/a") {
		t.Error("the file was copied")
	}
	// A second copy in the same root is a file of its own.
	twice, _ := b.on(t, linked, b.Copy(&plan.Step{}, &plan.Copy{From: fromStage(), Sources: []string{"/a"}, Dest: "/c/"},
		done))
	if inode(twice, "b/a") == inode(twice, "c/a") {
		t.Error("two files of one root have become one")
	}
}
