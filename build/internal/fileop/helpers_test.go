package fileop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns/asroot"
)

// files describes a tree: path -> "dir [MODE]", "file CONTENT [MODE]", "link TARGET", "fifo", "hard PATH". MODE is
// octal after "@", an owner follows after ":" as in "@0755:1:2".
type files map[string]string

// plant makes the tree.
func plant(t *testing.T, root string, tree files) {
	t.Helper()
	var paths []string
	for p := range tree {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		full := filepath.Join(root, p)
		check(t, os.MkdirAll(filepath.Dir(full), 0o755))
		spec, attributes, _ := strings.Cut(tree[p], "@")
		kind, text, _ := strings.Cut(strings.TrimSuffix(spec, " "), " ")
		switch kind {
		case "dir":
			check(t, os.MkdirAll(full, 0o755))
		case "file":
			check(t, os.WriteFile(full, []byte(text), 0o644))
		case "link":
			check(t, os.Symlink(text, full))
		case "fifo":
			check(t, unix.Mkfifo(full, 0o644))
		case "hard":
			check(t, os.Link(filepath.Join(root, text), full))
		default:
			t.Fatalf("unknown kind in %q", tree[p])
		}
		if attributes == "" {
			continue
		}
		var mode, uid, gid int
		if n, _ := fmt.Sscanf(attributes, "%o:%d:%d", &mode, &uid, &gid); n == 3 {
			check(t, os.Lchown(full, uid, gid))
		}
		if kind != "link" {
			check(t, unix.Chmod(full, uint32(mode)))
		}
	}
}

// read describes a tree as files does, attributes always included except for symlinks' modes.
func read(t *testing.T, root string) files {
	t.Helper()
	tree := files{}
	inodes := map[uint64]string{}
	check(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		owner := ""
		if st.Uid != 0 || st.Gid != 0 {
			owner = fmt.Sprintf(":%d:%d", st.Uid, st.Gid)
		}
		mode := fmt.Sprintf(" @%04o%s", st.Mode&0o7777, owner)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			tree[rel] = "dir" + mode
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			tree[rel] = "link " + target
			return err
		case unix.S_IFREG:
			if first, ok := inodes[st.Ino]; ok && st.Nlink > 1 {
				tree[rel] = "hard " + first
				return nil
			}
			inodes[st.Ino] = rel
			text, err := os.ReadFile(p)
			tree[rel] = "file " + string(text) + mode
			return err
		default:
			tree[rel] = fmt.Sprintf("%o %d:%d", st.Mode&unix.S_IFMT, unix.Major(st.Rdev), unix.Minor(st.Rdev)) + mode
		}
		return nil
	}))
	return tree
}

// checkOwnersTold looks for owners in the layer that Copy has said nothing of, but for those of what is below.
func checkOwnersTold(t testing.TB, s stage, res CopyResult) {
	t.Helper()
	below := ownersIn(t, s.view)
	for o := range ownersIn(t, s.layer) {
		if !below[o] && !slices.Contains(res.Owners, o) {
			t.Errorf("the layer has an owner %v, told were %v", o, res.Owners)
		}
	}
}

func ownersIn(t testing.TB, root string) map[Owner]bool {
	t.Helper()
	all := map[Owner]bool{}
	check(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && p != root {
			err = unix.Lstat(p, &st)
			all[Owner{st.Uid, st.Gid}] = true
		}
		return err
	}))
	return all
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openRoot(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	check(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// stage is a copy about to be made: a context, a parent and an empty layer.
type stage struct {
	context, view, layer string
}

func newStage(t testing.TB) stage {
	t.Helper()
	root := t.TempDir()
	s := stage{context: root + "/context", view: root + "/view", layer: root + "/layer"}
	for _, d := range []string{s.context, s.view, s.layer} {
		check(t, os.Mkdir(d, 0o755))
	}
	return s
}

func (s stage) options(t testing.TB, sources []string, dest string) CopyOptions {
	t.Helper()
	return CopyOptions{
		Source: openRoot(t, s.context), Sources: sources,
		View: openRoot(t, s.view), Layer: s.layer, Dest: dest, OverlayXattr: overlayXattr(t),
	}
}

func (s stage) copy(t testing.TB, sources []string, dest string) error {
	t.Helper()
	_, err := Copy(context.Background(), s.options(t, sources, dest))
	return err
}

// overlayXattr is the prefix that overlayfs uses for this user.
func overlayXattr(t testing.TB) string {
	t.Helper()
	if asroot.Real() {
		return "trusted.overlay."
	}
	return "user.overlay."
}

// openFDs counts this process's descriptors.
func openFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(list)
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

var errTestCancelled = errors.New("cancelled by the test")

// newCancelled is a context whose cancellation has errTestCancelled as its cause.
func newCancelled(t *testing.T) (context.Context, func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	return ctx, func() { cancel(errTestCancelled) }
}
