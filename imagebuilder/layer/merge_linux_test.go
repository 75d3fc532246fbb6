package layer

import (
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

	"github.com/cooperbuild/cooper/userns/asroot"
)

// randomLayer returns a diff directory with few names, so that a stack of them has them in many combinations.
func randomLayer(r *rand.Rand) []node {
	var nodes []node
	dirs, files := []string{""}, []string(nil)
	used := map[string]bool{}
	for range 60 {
		path := dirs[r.IntN(len(dirs))] + string(rune('a'+r.IntN(5)))
		if used[path] || strings.Count(path, "/") > 3 {
			continue
		}
		used[path] = true
		n := node{path: path, mode: r.Uint32()&0o777 | 0o400, uid: r.IntN(9), gid: r.IntN(9), mtime: r.Int64N(1 << 30)}
		switch k := r.IntN(10); {
		case k < 4:
			n.typ = typeDir
			dirs = append(dirs, path+"/")
			n.xattrs = map[string]string{fmt.Sprintf("user.%d", r.IntN(3)): fmt.Sprint(r.IntN(3))}
			if r.IntN(4) == 0 {
				n.xattrs[opaqueMark()] = "y"
			}
		case k < 6:
			n.typ, n.data = typeReg, fmt.Sprint(r.Uint64())
			files = append(files, path)
		case k == 6 && len(files) > 0:
			target := nodes[indexOf(nodes, files[r.IntN(len(files))])]
			n = node{path: path, typ: typeLink, link: target.path, mtime: target.mtime}
		case k == 7:
			n.typ, n.link = typeSymlink, fmt.Sprint(r.Uint64())
		case k == 8:
			n.typ = typeFifo
		default:
			n.typ, n.mode = 'w', 0
			if i := indexOf(nodes, filepath.Dir(path)); i >= 0 {
				nodes[i].xattrs[overlayXattr()+"origin"] = "" // as in every directory that has been copied up
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
		makeTree(t, dir, randomLayer(r))
		check(t, unix.Chmod(dir, 0o700|r.Uint32()&0o77))
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
	check(t, unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, options))
	defer func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	return snapshot(t, dir)
}

func TestMergeShowsWhatTheStackShows(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			layers := randomStack(t, seed, 5)
			dest := t.TempDir()
			before := snapshot(t, layers[2])
			check(t, Merge(context.Background(), dest, layers[1:4], overlayXattr()))
			diffLines(t, overlaid(t, dest), overlaid(t, layers[1:4]...))
			diffLines(t, overlaid(t, layers[0], dest), overlaid(t, layers[0:4]...))
			diffLines(t, overlaid(t, layers[0], dest, layers[4]), overlaid(t, layers...))
			diffLines(t, snapshot(t, layers[2]), before)
			var want, got unix.Stat_t
			check(t, unix.Stat(layers[3], &want))
			check(t, unix.Stat(dest, &got))
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
			goroutines, files := runtime.NumGoroutine(), openFiles(t)
			check(t, Merge(context.Background(), linked, layers, overlayXattr()))
			m := newMerger(overlayXattr())
			m.link = fullLink
			check(t, m.merge(context.Background(), copiedTo, layers))
			checkNothingLeft(t, goroutines, files)
			diffLines(t, snapshot(t, copiedTo), snapshot(t, linked))
		})
	}
}

func TestMergeCopiesData(t *testing.T) {
	layer, dest := t.TempDir(), t.TempDir()
	data := bytes.Repeat([]byte("0123456789"), 50_000)
	check(t, os.WriteFile(filepath.Join(layer, "f"), data, 0o640))
	m := newMerger("user.overlay.")
	m.link = fullLink
	check(t, m.merge(context.Background(), dest, []string{layer}))
	got, err := os.ReadFile(filepath.Join(dest, "f"))
	check(t, err)
	if !bytes.Equal(got, data) {
		t.Error("the copy differs")
	}
}

func TestMergeErrors(t *testing.T) {
	layer, full := t.TempDir(), t.TempDir()
	check(t, os.WriteFile(filepath.Join(layer, "f"), nil, 0o600))
	check(t, os.WriteFile(filepath.Join(full, "f"), nil, 0o600))
	ctx := context.Background()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	if err := Merge(ctx, full, []string{layer}, "user.overlay."); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("full destination: %v", err)
	}
	if err := Merge(ctx, t.TempDir(), []string{layer, filepath.Join(layer, "none")}, "user.overlay."); !errors.Is(err,
		os.ErrNotExist) {
		t.Errorf("missing layer: %v", err)
	}
	if err := Merge(ctx, t.TempDir(), []string{layer}, ""); err == nil {
		t.Error("no prefix: no error")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := Merge(cancelled, t.TempDir(), []string{layer}, "user.overlay."); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	check(t, unix.Setxattr(layer, "user.overlay.metacopy", nil, 0))
	if err := Merge(ctx, t.TempDir(), []string{layer}, "user.overlay."); !errors.Is(err, ErrRedirect) {
		t.Errorf("metadata copy: %v", err)
	}
	checkNothingLeft(t, goroutines, files)
}
