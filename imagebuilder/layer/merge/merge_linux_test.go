package merge

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/treetest"
	"github.com/cooperbuild/cooper/userns/asroot"
)

// randomLayer returns a diff directory with few names, so that a stack of them has them in many combinations.
func randomLayer(r *rand.Rand) []treetest.Node {
	var nodes []treetest.Node
	dirs, files := []string{""}, []string(nil)
	used := map[string]bool{}
	for range 60 {
		path := dirs[r.IntN(len(dirs))] + string(rune('a'+r.IntN(5)))
		if used[path] || strings.Count(path, "/") > 3 {
			continue
		}
		used[path] = true
		n := treetest.Node{Path: path, Mode: r.Uint32()&0o777 | 0o400, UID: r.IntN(9), GID: r.IntN(9),
			MTime: r.Int64N(1 << 30)}
		switch k := r.IntN(10); {
		case k < 4:
			n.Type = tar.TypeDir
			dirs = append(dirs, path+"/")
			n.Xattrs = map[string]string{fmt.Sprintf("user.%d", r.IntN(3)): fmt.Sprint(r.IntN(3))}
			if r.IntN(4) == 0 {
				n.Xattrs[treetest.OpaqueMark()] = "y"
			}
		case k < 6:
			n.Type, n.Data = tar.TypeReg, fmt.Sprint(r.Uint64())
			files = append(files, path)
		case k == 6 && len(files) > 0:
			target := nodes[treetest.IndexOf(nodes, files[r.IntN(len(files))])]
			n = treetest.Node{Path: path, Type: tar.TypeLink, Link: target.Path, MTime: target.MTime}
		case k == 7:
			n.Type, n.Link = tar.TypeSymlink, fmt.Sprint(r.Uint64())
		case k == 8:
			n.Type = tar.TypeFifo
		default:
			n.Type, n.Mode = 'w', 0
			if i := treetest.IndexOf(nodes, filepath.Dir(path)); i >= 0 {
				nodes[i].Xattrs[treetest.OverlayXattr()+"origin"] = "" // as in every directory that has been copied up
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// randomStack makes n layers and returns their directories, the bottom one first.
func randomStack(t testing.TB, seed uint64, n int) []string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	var dirs []string
	for range n {
		dir := t.TempDir()
		treetest.Make(t, dir, randomLayer(r))
		treetest.Check(t, unix.Chmod(dir, 0o700|r.Uint32()&0o77))
		dirs = append(dirs, dir)
	}
	return dirs
}

// overlaid returns what the kernel shows of a stack of layers, the bottom one first.
func overlaid(t *testing.T, layers ...string) []string {
	t.Helper()
	dir := t.TempDir()
	lower := append([]string{t.TempDir()}, layers...) // one layer alone can't be mounted
	slices.Reverse(lower)
	options := "lowerdir=" + strings.Join(lower, ":")
	if !asroot.Real() {
		options += ",userxattr"
	}
	treetest.Check(t, unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, options))
	defer func() { treetest.Check(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	return treetest.Snapshot(t, dir)
}

func TestMergeShowsWhatTheStackShows(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			layers := randomStack(t, seed, 5)
			dest := t.TempDir()
			before := treetest.Snapshot(t, layers[2])
			treetest.Check(t, Layers(context.Background(), dest, layers[1:4], treetest.OverlayXattr()))
			treetest.DiffLines(t, overlaid(t, dest), overlaid(t, layers[1:4]...))
			treetest.DiffLines(t, overlaid(t, layers[0], dest), overlaid(t, layers[0:4]...))
			treetest.DiffLines(t, overlaid(t, layers[0], dest, layers[4]), overlaid(t, layers...))
			treetest.DiffLines(t, treetest.Snapshot(t, layers[2]), before)
			var want, got unix.Stat_t
			treetest.Check(t, unix.Stat(layers[3], &want))
			treetest.Check(t, unix.Stat(dest, &got))
			if got.Mode != want.Mode || got.Mtim != want.Mtim {
				t.Errorf("root %o %v, want %o %v", got.Mode, got.Mtim, want.Mode, want.Mtim)
			}
		})
	}
}

// fullLink is linkAt on a file system where each file has the links it can have.
func fullLink(_ int, name string, dstDir int) error {
	var st unix.Stat_t
	if unix.Fstatat(dstDir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return unix.EEXIST
	}
	return unix.EMLINK
}

func TestMergeCopiesWhenLinksRunOut(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			layers := randomStack(t, seed, 3)
			linked, copiedTo := t.TempDir(), t.TempDir()
			goroutines, files := runtime.NumGoroutine(), treetest.OpenFiles(t)
			treetest.Check(t, Layers(context.Background(), linked, layers, treetest.OverlayXattr()))
			m := newMerger(treetest.OverlayXattr())
			m.link = fullLink
			treetest.Check(t, m.merge(context.Background(), copiedTo, layers))
			treetest.NothingLeft(t, goroutines, files)
			treetest.DiffLines(t, treetest.Snapshot(t, copiedTo), treetest.Snapshot(t, linked))
		})
	}
}

func TestMergeCopiesData(t *testing.T) {
	layer, dest := t.TempDir(), t.TempDir()
	data := bytes.Repeat([]byte("0123456789"), 50_000)
	treetest.Check(t, os.WriteFile(filepath.Join(layer, "f"), data, 0o640))
	m := newMerger("user.overlay.")
	m.link = fullLink
	treetest.Check(t, m.merge(context.Background(), dest, []string{layer}))
	got, err := os.ReadFile(filepath.Join(dest, "f"))
	treetest.Check(t, err)
	if !bytes.Equal(got, data) {
		t.Error("the copy differs")
	}
}

func TestMergeErrors(t *testing.T) {
	layer, full := t.TempDir(), t.TempDir()
	treetest.Check(t, os.WriteFile(filepath.Join(layer, "f"), nil, 0o600))
	treetest.Check(t, os.WriteFile(filepath.Join(full, "f"), nil, 0o600))
	ctx := context.Background()
	goroutines, files := runtime.NumGoroutine(), treetest.OpenFiles(t)
	if err := Layers(ctx, full, []string{layer}, "user.overlay."); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("full destination: %v", err)
	}
	if err := Layers(ctx, t.TempDir(), []string{layer, filepath.Join(layer, "none")}, "user.overlay."); !errors.Is(err,
		os.ErrNotExist) {
		t.Errorf("missing layer: %v", err)
	}
	if err := Layers(ctx, t.TempDir(), []string{layer}, ""); err == nil {
		t.Error("no prefix: no error")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := Layers(cancelled, t.TempDir(), []string{layer}, "user.overlay."); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	treetest.Check(t, unix.Setxattr(layer, "user.overlay.metacopy", nil, 0))
	if err := Layers(ctx, t.TempDir(), []string{layer}, "user.overlay."); !errors.Is(err, tree.ErrRedirect) {
		t.Errorf("metadata copy: %v", err)
	}
	treetest.NothingLeft(t, goroutines, files)
}
