package tests_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var updateGolden = flag.Bool("update", false, "write the golden parts of the conformance corpus")

// corpusDir holds the cases of conformance; its README says what a case is made of.
const corpusDir = "conformance"

// A corpusCase is one Dockerfile of the corpus with its context and what must come of it.
type corpusCase struct {
	name, path string
	archive    *txtar.Archive
	// flags are given to cooper and to buildah alike.
	flags []string
}

// loadCorpus reads the cases, sorted by name.
func loadCorpus(t *testing.T) []*corpusCase {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(corpusDir, "*.txtar"))
	if err != nil || len(paths) < 150 {
		t.Fatalf("%d cases in the corpus, want 150: %v", len(paths), err)
	}
	var cases []*corpusCase
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := &corpusCase{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path, archive: archive}
		flags, _ := c.part("flags")
		if flags != "" {
			c.flags = strings.Split(strings.TrimSuffix(flags, "\n"), "\n")
		}
		cases = append(cases, c)
	}
	return cases
}

// part is one file of the archive.
func (c *corpusCase) part(name string) (text string, ok bool) {
	for _, f := range c.archive.Files {
		if f.Name == name {
			return string(f.Data), true
		}
	}
	return "", false
}

// setPart replaces or adds one file of the archive.
func (c *corpusCase) setPart(name, text string) {
	for i, f := range c.archive.Files {
		if f.Name == name {
			c.archive.Files[i].Data = []byte(text)
			return
		}
	}
	c.archive.Files = append(c.archive.Files, txtar.File{Name: name, Data: []byte(text)})
}

// write lays the case out below the site: its Dockerfiles, and the context in ctx.
func (c *corpusCase) write(t *testing.T, s *site) {
	t.Helper()
	s.mkdir(t, c.name+"/ctx")
	for _, f := range c.archive.Files {
		switch {
		case strings.HasPrefix(f.Name, "want/") || f.Name == "flags":
		default:
			s.write(t, filepath.Join(c.name, f.Name), string(f.Data))
		}
	}
	if _, ok := c.part("setup.sh"); ok {
		s.run(t, "sh", "-c", "umask 022; cd \"$1\" && . ../setup.sh", "sh", s.path(c.name+"/ctx"))
	}
}

// parentName is the image that a case's parent.Dockerfile makes.
func (c *corpusCase) parentName() string { return c.name + "-parent" }

// TestConformance builds every case of the corpus as an ordinary user and holds config, history and layers against the
// golden parts. With root, buildah builds those of them that it has not built yet as they are, and both must agree but
// for the differences that are listed.
func TestConformance(t *testing.T) {
	t.Parallel()
	cases := loadCorpus(t)
	known := loadAgreements(t)
	var listed *differences
	t.Run("cases", func(t *testing.T) {
		user := newCorpusSite(t, ordinary(t))
		var other *buildahSite
		if os.Getuid() == 0 {
			listed = loadDifferences(t)
			if slices.ContainsFunc(cases, func(c *corpusCase) bool { return !known.has(c) }) {
				other = newBuildahSite(t, user)
			}
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				judge := other
				if known.has(c) {
					judge = nil
				}
				checkCase(t, user, c, judge, listed)
				if judge != nil && !t.Failed() {
					known.add(c)
				}
			})
		}
	})
	if *updateGolden {
		known.write(t, cases)
	}
	if listed != nil && !t.Failed() {
		listed.checkAllOccurred(t, len(cases))
	}
}

// newCorpusSite makes a site with the base image of the corpus in its store.
func newCorpusSite(t *testing.T, m mode) *site {
	t.Helper()
	s := newSite(t, m)
	writeCorpusBase(t, s)
	s.build(t, "-q", "-t", "base", "-o", "type=oci,dest=base.tar,compression=uncompressed", "base")
	return s
}

// checkCase builds one case and compares.
func checkCase(t *testing.T, s *site, c *corpusCase, other *buildahSite, listed *differences) {
	t.Helper()
	c.write(t, s)
	if _, ok := c.part("parent.Dockerfile"); ok {
		s.build(t, "-q", "-t", c.parentName(), "-f", s.path(c.name+"/parent.Dockerfile"), c.name+"/ctx")
	}
	out := s.path(c.name + "/out.tar")
	args := append([]string{"build", "--progress=plain", "-o", "type=oci,compression=uncompressed,dest=" + out, "-f",
		c.name + "/Dockerfile"}, c.flags...)
	r := s.cooper(t, append(args, c.name+"/ctx")...)
	if want, fails := c.part("want/error"); fails {
		if r.Code != 1 || !strings.Contains(r.Stderr, strings.TrimSpace(want)) {
			t.Errorf("status %d, and want 1 with %q in\n%s", r.Code, want, tail(r.Stderr))
		}
		if other == nil {
			return
		}
		listed.compared.Add(1)
		if other.build(t, c) != nil && !listed.allow(c.name, "build") {
			t.Error("buildah builds what cooper refuses")
		}
		return
	}
	if r.Code != 0 {
		t.Fatalf("status %d\n%s", r.Code, tail(r.Stderr))
	}
	got := mustLayout(t, out)
	c.compareGolden(t, "want/image", imageText(t, got, s))
	c.compareGolden(t, "want/layers", layersText(t, got, s))
	if *updateGolden {
		if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if other != nil {
		other.compare(t, c, got, listed)
	}
}

func (c *corpusCase) compareGolden(t *testing.T, part, got string) {
	t.Helper()
	if *updateGolden {
		c.setPart(part, got)
		return
	}
	want, _ := c.part(part)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s of %s (-want +got; -update writes it):\n%s", part, c.path, diff)
	}
}

// baseLayout is the base image of the corpus.
func (s *site) baseLayout(t *testing.T) *layout { return mustLayout(t, s.path("base.tar")) }

// imageText is the config, a line a key, and the history, a line an entry, without times. What comes of the corpus's
// base is one line: base.
func imageText(t *testing.T, l *layout, s *site) string {
	t.Helper()
	var b strings.Builder
	if arch := l.image.Architecture; arch != runtime.GOARCH || l.image.OS != "linux" {
		fmt.Fprintf(&b, "platform %s/%s/%s\n", l.image.OS, arch, l.image.Variant)
	}
	if l.image.Author != "" {
		fmt.Fprintf(&b, "author %q\n", l.image.Author)
	}
	config := configKeys(t, l.config)
	for _, key := range slices.Sorted(maps.Keys(config)) {
		fmt.Fprintf(&b, "%s %s\n", key, config[key])
	}
	b.WriteString("history:\n")
	history := l.image.History
	if base := s.baseLayout(t).image.History; len(history) >= len(base) && history[0].CreatedBy == base[0].CreatedBy {
		b.WriteString("base\n")
		history = history[len(base):]
	}
	for _, h := range history {
		kind := "layer"
		if h.EmptyLayer {
			kind = "empty"
		}
		fmt.Fprintf(&b, "%s %s", kind, strings.ReplaceAll(h.CreatedBy, "\n", `\n`))
		if h.Author != "" || h.Comment != "" {
			fmt.Fprintf(&b, " (author %q, comment %q)", h.Author, h.Comment)
		}
		if h.Created == nil {
			b.WriteString(" (no time)")
		}
		b.WriteByte('\n')
	}
	return machineless(b.String())
}

// machineless takes this machine's architecture out of a golden text.
func machineless(text string) string {
	return strings.NewReplacer("linux/"+runtime.GOARCH, "linux/ARCH", "ARCH="+runtime.GOARCH, "ARCH=ARCH").Replace(text)
}

// configKeys are the keys of an image config that are set, each as one line of JSON.
func configKeys(t *testing.T, config []byte) map[string]string {
	t.Helper()
	var image struct{ Config map[string]json.RawMessage }
	if err := json.Unmarshal(config, &image); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for key, raw := range image.Config {
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			t.Fatal(err)
		}
		switch text := strings.TrimSpace(b.String()); text {
		case "null", "[]", "{}", `""`, "false", "0":
		default:
			keys[key] = text
		}
	}
	return keys
}

// layersText has a line for each entry of each layer above the corpus's base. Short files show their content.
func layersText(t *testing.T, l *layout, s *site) string {
	t.Helper()
	all, err := l.entries()
	if err != nil {
		t.Fatal(err)
	}
	base := s.baseLayout(t)
	below := 0
	if ids := l.image.RootFS.DiffIDs; len(ids) > 0 && ids[0] == base.image.RootFS.DiffIDs[0] {
		below = len(base.layers)
	}
	var b strings.Builder
	for _, e := range all {
		if e.Layer < below {
			continue
		}
		e.Layer -= below
		b.WriteString(e.String())
		switch {
		case e.Header.Typeflag != tar.TypeReg || e.Header.Size == 0:
		case e.Head != "":
			fmt.Fprintf(&b, " %q", e.Head)
		default:
			fmt.Fprintf(&b, " %s", e.Content.Encoded()[:12])
		}
		b.WriteByte('\n')
	}
	return machineless(b.String())
}

// writeCorpusBase writes the context of the corpus's one base image: a busybox with users, groups and a few odd files.
func writeCorpusBase(t *testing.T, s *site) {
	t.Helper()
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile(s.path("busybox/busybox"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range corpusBaseFiles(string(busybox)) {
		f.header.Size = int64(len(f.text))
		if err := w.WriteHeader(&f.header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s.write(t, "base/rootfs.tar", b.String())
	s.write(t, "base/Dockerfile", "FROM scratch\nADD rootfs.tar /\nENV PATH=/bin\nCMD [\"/bin/sh\"]\n")
}

type baseFile struct {
	header tar.Header
	text   string
}

// corpusBaseFiles are the base's files: a setuid file, a link to a directory, hard links, odd owners, an opaque
// candidate.
func corpusBaseFiles(busybox string) []baseFile {
	dir := func(name string, mode int64) baseFile {
		return baseFile{header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}}
	}
	link := func(name, to string) baseFile {
		return baseFile{header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}}
	}
	file := func(name string, mode int64, owner int, text string) baseFile {
		return baseFile{header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: owner, Gid: owner}, text: text}
	}
	files := []baseFile{
		dir("bin", 0o755), dir("etc", 0o755), dir("home", 0o755), dir("home/app", 0o750), dir("run", 0o755),
		dir("tmp", 0o1777),
		dir("var", 0o755), dir("opt", 0o755), dir("opt/tree", 0o755), dir("opt/tree/sub", 0o2775), dir("proc", 0o555),
		dir("sys", 0o555),
		dir("dev", 0o755), dir("root", 0o700), link("var/run", "../run"), link("opt/link", "tree"),
		link("opt/dangling", "/nowhere/at/all"),
		file("bin/busybox", 0o755, 0, busybox), file("opt/setuid", 0o4755, 0, "setuid\n"),
		file("opt/owned", 0o640, 33, "owned\n"),
		file("opt/tree/one", 0o644, 0, "one\n"), file("opt/tree/sub/two", 0o600, 1000, "two\n"),
		file("opt/a b", 0o644, 0, "space\n"),
		file("etc/passwd", 0o644, 0,
			"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\napp:x:1000:1001:App:/home/app:/bin/sh\n"),
		file("etc/group", 0o644, 0, "root:x:0:\nwww-data:x:33:\napp:x:1001:\nstaff:x:50:app\nextra:x:77:www-data,app\n"),
	}
	noted, capable := file("opt/noted", 0o644, 33, "noted\n"), file("opt/capable", 0o755, 0, "capable\n")
	noted.header.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "of a user"}
	// cap_net_raw, permitted and effective, in the kernel's form of version 2.
	capable.header.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}
	files = append(files, noted, capable)
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} { // buildah makes them where they are missing
		files = append(files, file("etc/"+name, 0o644, 0, ""))
	}
	files = append(files,
		baseFile{header: tar.Header{Typeflag: tar.TypeLink, Name: "opt/tree/one-too", Linkname: "opt/tree/one", Mode: 0o644}})
	for _, applet := range []string{
		"sh", "ash", "awk", "cat", "chgrp", "chmod", "chown", "cp", "cut", "echo", "env", "false", "find", "grep", "id", "ln",
		"ls", "mkdir", "mkfifo",
		"mv", "printf", "pwd", "readlink", "rm", "rmdir", "sed", "sleep", "sort", "stat", "tail", "tar", "test", "touch",
		"tr", "true", "wc",
	} {
		files = append(files, link("bin/"+applet, "busybox"))
	}
	return files
}
