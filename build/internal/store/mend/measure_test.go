package mend

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
)

// layerDir makes the directory of a layer as overlay keeps it: a file, a link, a directory and two ways to say that
// something is deleted.
func layerDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	for _, err := range []error{
		os.WriteFile(file, []byte("text"), 0o640), os.Chmod(file, 0o640), os.Symlink("file", filepath.Join(dir, "link")),
		os.Mkdir(filepath.Join(dir, "d"), 0o755), os.Chmod(filepath.Join(dir, "d"), 0o755|os.ModeSticky),
		os.WriteFile(filepath.Join(dir, "d", ".wh.gone"), nil, 0o600),
		unix.Mknod(filepath.Join(dir, "deleted"), unix.S_IFCHR, 0),
		unix.Lsetxattr(file, "user.x", []byte("y"), 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFilesOfALayerAreHeldAgainstItsArchive(t *testing.T) {
	t.Parallel()
	uid, gid := os.Getuid(), os.Getgid()
	file := tar.Header{Name: "file", Typeflag: tar.TypeReg, Mode: 0o640, Uid: uid, Gid: gid}
	with := func(change func(*tar.Header)) tar.Header {
		h := file
		change(&h)
		return h
	}
	attr := func(name, value string) func(*tar.Header) {
		return func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr." + name: value} }
	}
	for name, test := range map[string]struct {
		h tar.Header
		// lost says that something is missing, and kept that whoever looks at attributes alone sees it.
		lost, detail bool
	}{
		"a file":               {h: file},
		"its attribute":        {h: with(attr("user.x", "y"))},
		"another mode":         {h: with(func(h *tar.Header) { h.Mode = 0o600 }), lost: true, detail: true},
		"another owner":        {h: with(func(h *tar.Header) { h.Uid++ }), lost: true, detail: true},
		"another group":        {h: with(func(h *tar.Header) { h.Gid++ }), lost: true, detail: true},
		"another value":        {h: with(attr("user.x", "z")), lost: true, detail: true},
		"no such attribute":    {h: with(attr("user.none", "")), lost: true, detail: true},
		"no such file":         {h: with(func(h *tar.Header) { h.Name = "none" }), lost: true},
		"no such directory":    {h: with(func(h *tar.Header) { h.Name = "none/file" }), lost: true},
		"a device":             {h: with(func(h *tar.Header) { h.Name, h.Typeflag = "none", tar.TypeChar })},
		"a hard link":          {h: with(func(h *tar.Header) { h.Typeflag, h.Mode = tar.TypeLink, 0 })},
		"a symbolic link":      {h: tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Mode: 0o777, Uid: uid, Gid: gid}},
		"a directory":          {h: tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o1755, Uid: uid, Gid: gid}},
		"the root":             {h: tar.Header{Name: "./", Typeflag: tar.TypeDir}},
		"an opaque directory":  {h: tar.Header{Name: "d/.wh..wh..opq"}},
		"a whiteout":           {h: tar.Header{Name: ".wh.deleted"}},
		"a program's whiteout": {h: tar.Header{Name: "d/.wh.gone"}},
		"a whiteout less":      {h: tar.Header{Name: ".wh.none"}, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := layerDir(t)
			if err := (tarChecker{dir: dir, attributes: true}).check(&test.h); (err != nil) != test.lost ||
				err != nil && !errors.Is(err, errLost) {
				t.Errorf("with attributes: %v", err)
			}
			// Layers of others may lack what their user couldn't do.
			if err := (tarChecker{dir: dir}).check(&test.h); (err != nil) != (test.lost && !test.detail) {
				t.Errorf("without attributes: %v", err)
			}
		})
	}
}

func TestTheLastMemberOfANameCounts(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{{Name: "a", Mode: 1}, {Name: "./a", Mode: 2}, {Name: "d/", Typeflag: tar.TypeDir}} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.WriteString("behind the end") // it belongs to the digest
	text := b.String()
	headers, d, err := readTar(strings.NewReader(text))
	if err != nil || len(headers) != 2 || headers["/a"].Mode != 2 || headers["/d"] == nil {
		t.Errorf("%v, %v", headers, err)
	}
	if d != digest.FromString(text) {
		t.Errorf("digest %s", d)
	}
	if _, _, err := readTar(strings.NewReader(text[:700])); err == nil {
		t.Error("half an archive was read")
	}
}

func TestWhatIsLostIsToldInOneNote(t *testing.T) {
	t.Parallel()
	var told []string
	r := &Room{store: &store.Store{}, tellUser: func(text string) { told = append(told, text) }}
	m := &mender{Room: r, bad: map[string]bool{}}
	m.report()
	if len(told) > 0 {
		t.Errorf("nothing was lost, and told was %q", told)
	}
	m.bad["a"], m.lost = true, []string{"b:1", "a:1"}
	m.report()
	if len(told) != 1 || !strings.Contains(told[0], "1 layers had lost files") ||
		!strings.HasSuffix(told[0], ": a:1, b:1") {
		t.Errorf("told: %q", told)
	}
	r.tellUser = nil // nobody wants to know
	m.report()
}
