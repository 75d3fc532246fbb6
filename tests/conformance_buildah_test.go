package tests_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// A buildahSite is a store of real root's buildah, without a disk, for the other half of the differential test.
type buildahSite struct {
	site *site
	dir  string
}

// newBuildahSite makes the store and puts cooper's base image into it, so that both build on the same bytes.
func newBuildahSite(t *testing.T, s *site) *buildahSite {
	t.Helper()
	b := &buildahSite{site: s, dir: s.ram(t)}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(b.dir, "store/overlay"), unix.MNT_DETACH) })
	if out, err := b.command("pull", "-q", "oci-archive:"+s.path("base.tar")).CombinedOutput(); err != nil {
		t.Fatalf("buildah pull: %v\n%s", err, out)
	}
	id, err := b.command("images", "-q", "--no-trunc").Output()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := b.command("tag", strings.TrimSpace(string(id)), "localhost/base:latest").CombinedOutput(); err != nil {
		t.Fatalf("buildah tag: %v\n%s", err, out)
	}
	return b
}

// command runs buildah as root, the cheapest way that works: no layers, no network of its own, overlay on a tmpfs.
func (b *buildahSite) command(verb string, args ...string) *exec.Cmd {
	store := []string{"--root", filepath.Join(b.dir, "store"), "--runroot", filepath.Join(b.dir, "run"),
		"--storage-driver", "overlay", verb}
	cmd := exec.Command("buildah", append(store, args...)...)
	cmd.Dir = b.site.dir
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + b.dir, "TMPDIR=" + b.dir,
		"CONTAINERS_CONF=" + b.site.path("containers.conf"), "BUILDAH_ISOLATION=chroot",
	}
	return cmd
}

// build builds a case and returns the image as a directory that the layout reader understands, or nil if buildah can't.
func (b *buildahSite) build(t *testing.T, c *corpusCase) *layout {
	t.Helper()
	bud := func(file, tag string, flags ...string) error {
		args := []string{"-q", "--layers=false", "--format=docker", "--pull-never", "--identity-label=false",
			"--network=host", "-t", tag, "-f", file}
		out, err := b.command("bud", slices.Concat(args, flags, []string{b.site.path(c.name + "/ctx")})...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, tail(string(out)))
		}
		return nil
	}
	if _, ok := c.part("parent.Dockerfile"); ok {
		if err := bud(b.site.path(c.name+"/parent.Dockerfile"), "localhost/"+c.parentName()); err != nil {
			t.Logf("buildah, parent: %v", err)
			return nil
		}
	}
	tag := "localhost/" + c.name + ":done"
	if err := bud(b.site.path(c.name+"/Dockerfile"), tag, c.flags...); err != nil {
		t.Logf("buildah: %v", err)
		return nil
	}
	out := filepath.Join(b.dir, c.name)
	if text, err := b.command("push", "-q", "-D", "--format=v2s2", tag, "dir:"+out).CombinedOutput(); err != nil {
		t.Fatalf("buildah push: %v\n%s", err, text)
	}
	l, err := openPushed(out)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// openPushed reads an image in the directory form of skopeo and buildah.
func openPushed(dir string) (*layout, error) {
	l := &layout{read: func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(dir, path.Base(name))) }}
	var manifest ocispec.Manifest
	if err := l.decode("manifest.json", &manifest); err != nil {
		return nil, err
	}
	l.layers = manifest.Layers
	var err error
	if l.config, err = l.blob(manifest.Config); err != nil {
		return nil, err
	}
	return l, json.Unmarshal(l.config, &l.image)
}

// compare builds the case with buildah and holds cooper's image against it.
func (b *buildahSite) compare(t *testing.T, c *corpusCase, got *layout, listed *differences) {
	t.Helper()
	listed.compared.Add(1)
	want := b.build(t, c)
	if want == nil {
		if !listed.allow(c.name, "build") {
			t.Error("buildah can't build this, and that is not listed")
		}
		return
	}
	for aspect, difference := range mapDifferences(configTexts(t, got), configTexts(t, want)) {
		if !listed.allow(c.name, "config "+aspect) {
			t.Errorf("config %s: %s", aspect, difference)
		}
	}
	for aspect, difference := range mapDifferences(treeTexts(t, got), treeTexts(t, want)) {
		if !listed.allow(c.name, "file "+aspect) {
			t.Errorf("file %s: %s", aspect, difference)
		}
	}
	if err := os.RemoveAll(filepath.Join(b.dir, c.name)); err != nil {
		t.Error(err)
	}
}

// configTexts are what two configs are compared by.
func configTexts(t *testing.T, l *layout) map[string]string {
	t.Helper()
	texts := configKeys(t, l.config)
	maps.DeleteFunc(texts, func(key, _ string) bool { return key == "Hostname" || key == "Image" }) // buildah's own
	texts["author"], texts["os"], texts["architecture"] = l.image.Author, l.image.OS, l.image.Architecture
	return texts
}

// treeTexts are what two file trees are compared by: type, mode, owner, link, content and attributes of each name. A
// name of a file with several names says which they are.
func treeTexts(t *testing.T, l *layout) map[string]string {
	t.Helper()
	files, err := l.files()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{}
	for name := range files {
		to := target(files, name)
		names[to] = append(names[to], name)
	}
	texts := map[string]string{}
	for name, e := range files {
		to := target(files, name)
		if to != name {
			e = files[to]
		}
		if e.Header == nil {
			texts[name] = "a link to nothing: " + to
			continue
		}
		h := *e.Header
		h.Name, h.Typeflag = "", max(h.Typeflag, tar.TypeReg)
		text := strings.Join(strings.Fields(entry{Header: &h}.String())[1:], " ")
		if h.Typeflag == tar.TypeReg {
			text += " " + e.Content.Encoded()[:12]
		}
		if same := slices.Sorted(slices.Values(names[to])); len(same) > 1 {
			text += " = " + strings.Join(same, " ")
		}
		texts[name] = text
	}
	if _, ok := texts[""]; ok {
		texts["."] = texts[""]
		delete(texts, "")
	}
	return texts
}

// mapDifferences says where two maps differ.
func mapDifferences(got, want map[string]string) map[string]string {
	out := map[string]string{}
	all := maps.Clone(got)
	maps.Copy(all, want)
	for key := range all {
		a, b := got[key], want[key]
		if a != b {
			out[key] = fmt.Sprintf("cooper %s, buildah %s", orNone(a), orNone(b))
		}
	}
	return out
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// differences is the list of what may differ between cooper and buildah.
type differences struct {
	// compared counts the cases that both have built or tried to.
	compared atomic.Int32
	mu       sync.Mutex
	lines    []*difference
}

// A difference is one line of the list: a case, an aspect of it, both patterns as of path.Match, and after a tab the
// reason.
type difference struct {
	cases, aspect, reason string
	line, seen            int
	// sometimes is for what depends on which of buildah's processes comes first; it need not occur.
	sometimes bool
}

// loadDifferences reads the list.
func loadDifferences(t *testing.T) *differences {
	t.Helper()
	name := filepath.Join(corpusDir, "differences.txt")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := &differences{}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 || slices.Contains(fields, "") {
			t.Fatalf("%s:%d: want CASE, ASPECT and REASON with tabs between them", name, i+1)
		}
		_, err1 := path.Match(fields[0], "")
		_, err2 := path.Match(fields[1], "")
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("%s:%d: %v", name, i+1, err)
		}
		aspect, sometimes := strings.CutPrefix(fields[1], "sometimes ")
		d.lines = append(d.lines, &difference{cases: fields[0], aspect: aspect, reason: fields[2], line: i + 1,
			sometimes: sometimes})
	}
	return d
}

// allow tells whether a difference is listed, and remembers that it occurred.
func (d *differences) allow(name, aspect string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lines {
		inCase, _ := path.Match(l.cases, name)
		// A star stands for slashes too.
		inAspect, _ := path.Match(strings.ReplaceAll(l.aspect, "/", "\x01"), strings.ReplaceAll(aspect, "/", "\x01"))
		if inCase && inAspect {
			l.seen++
			return true
		}
	}
	return false
}

// checkAllOccurred fails for a line of the list that nothing needs any more, if all the cases were run.
func (d *differences) checkAllOccurred(t *testing.T, cases int) {
	t.Helper()
	t.Logf("%d of %d cases held against buildah, %d listed differences", d.compared.Load(), cases, len(d.lines))
	if int(d.compared.Load()) < cases {
		return
	}
	for _, l := range d.lines {
		if l.seen == 0 && !l.sometimes {
			t.Errorf("differences.txt:%d: %s %s no longer occurs", l.line, l.cases, l.aspect)
		}
	}
}
