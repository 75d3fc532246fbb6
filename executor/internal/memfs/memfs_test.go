package memfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/memfs"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(usertest.Both(m.Run))) }

func newFS(t *testing.T, o memfs.Options) *memfs.FS {
	t.Helper()
	if o.Size == 0 {
		o.Size = 1 << 20
	}
	f, err := memfs.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func stat(t *testing.T, dir *os.File, name string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return st
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// within gives the path of a file in the memory file system, which has none of its own.
func within(f *memfs.FS, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Dir.Fd(), name)
}

func TestModesAndOwnersAreExact(t *testing.T) {
	root, user := ids.Pair{UID: 2000, GID: 2001}, ids.Pair{UID: 2033, GID: 2034}
	for _, umask := range []int{0, 0o022, 0o077} {
		f := func() *memfs.FS {
			defer unix.Umask(unix.Umask(umask))
			f := newFS(t, memfs.Options{Owner: root})
			must(t, f.Mkdir("d", 0o1777), f.Write("d/f", []byte("text"), 0o664), f.Write("theirs", nil, 0o640),
				f.Parents("d", "a/b/c"), f.GiveTo("theirs", user, 0o640))
			return f
		}()
		for name, want := range map[string]struct {
			mode uint32
			ids.Pair
		}{
			".": {unix.S_IFDIR | 0o755, root}, "d": {unix.S_IFDIR | 0o1777, root}, "d/f": {unix.S_IFREG | 0o664, root},
			"d/a/b": {unix.S_IFDIR | 0o755, root}, "theirs": {unix.S_IFREG | 0o640, user},
		} {
			st := stat(t, f.Dir, name)
			if st.Mode != want.mode || (ids.Pair{UID: st.Uid, GID: st.Gid}) != want.Pair {
				t.Errorf("umask %o: %s is %o of %d:%d, want %o of %v", umask, name, st.Mode, st.Uid, st.Gid, want.mode, want.Pair)
			}
		}
		if text, err := os.ReadFile(within(f, "d/f")); string(text) != "text" {
			t.Errorf("it has %q (%v)", text, err)
		}
	}
}

func TestNothingIsReplaced(t *testing.T) {
	f := newFS(t, memfs.Options{})
	must(t, f.Write("x", nil, 0o600), f.Mkdir("d", 0o700), f.Parents("d", "e/f"), f.Parents("d", "e/g"))
	for doing, err := range map[string]error{
		"file over a file":          f.Write("x", nil, 0o600),
		"file over a directory":     f.Write("d", nil, 0o600),
		"directory over a file":     f.Mkdir("x", 0o700),
		"directory below a file":    f.Mkdir("x/y", 0o700),
		"parents through a file":    f.Parents("d", "../x/y"),
		"owner of what isn't there": f.GiveTo("none", ids.Pair{UID: 1}, 0o600),
	} {
		if err == nil {
			t.Errorf("%s: no error", doing)
		}
	}
}

func TestSizesAreKept(t *testing.T) {
	big := make([]byte, 2<<20)
	f := newFS(t, memfs.Options{Size: 1 << 20, Shm: 4 << 20})
	if err := f.Write("big", big, 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("2 MiB in 1 MiB: %v", err)
	}
	must(t, f.Write(memfs.ShmDir+"/big", big, 0o600)) // there is no such directory in Dir
	if st := stat(t, f.Shm, "big"); st.Size != int64(len(big)) {
		t.Errorf("it has %d bytes", st.Size)
	}
	if st := stat(t, f.Shm, "."); st.Mode&0o7777 != 0o1777 {
		t.Errorf("its mode is %o", st.Mode)
	}
}

func TestPlaceOfSharedMemory(t *testing.T) {
	one, two := newFS(t, memfs.Options{}), newFS(t, memfs.Options{Shm: 1 << 20})
	tests := []struct {
		name  string
		of    *memfs.FS
		inShm bool
	}{
		{"dev/shm/x", two, true}, {"dev/shm", two, false}, {"dev/shmx", two, false}, {"x/dev/shm/y", two, false},
		{"dev/shm/x", one, false},
	}
	for _, test := range tests {
		dir, name := test.of.PlaceOf(test.name)
		if got := dir == test.of.Shm && test.of.Shm != nil; got != test.inShm {
			t.Errorf("%s is in shared memory: %t", test.name, got)
		}
		if want := strings.TrimPrefix(test.name, "dev/shm/"); test.inShm && name != want || !test.inShm && name != test.name {
			t.Errorf("%s is called %s there", test.name, name)
		}
	}
}

func TestDevHasNoDevices(t *testing.T) {
	f := newFS(t, memfs.Options{})
	must(t, f.MakeDev())
	entries, err := os.ReadDir(within(f, "dev"))
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if e.Type()&(os.ModeDevice|os.ModeCharDevice) != 0 {
			t.Errorf("%s is a device", e.Name())
		}
	}
	want := append([]string{"fd", "mqueue", "ptmx", "pts", "shm", "stderr", "stdin", "stdout"}, memfs.DeviceNodes()...)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("/dev has %v, want %v", names, want)
	}
	if st := stat(t, f.Dir, "dev/shm"); st.Mode != unix.S_IFDIR|0o1777 {
		t.Errorf("/dev/shm: %o", st.Mode)
	}
}

func TestSocketServesUntilItIsClosed(t *testing.T) {
	f := newFS(t, memfs.Options{})
	begun, ended := make(chan struct{}), make(chan error, 1)
	serve := func(ctx context.Context, conn net.Conn) {
		fmt.Fprint(conn, "hello")
		close(begun)
		<-ctx.Done()
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}
	must(t, f.Listen("s", step.Socket{Mode: 0o620, Serve: serve}, ids.Pair{UID: 33, GID: 34}))
	if st := stat(t, f.Dir, "s"); st.Mode != unix.S_IFSOCK|0o620 || st.Uid != 33 || st.Gid != 34 {
		t.Errorf("the socket is %o of %d:%d", st.Mode, st.Uid, st.Gid)
	}
	conn, err := net.Dial("unix", within(f, "s"))
	must(t, err)
	defer func() { _ = conn.Close() }()
	<-begun
	f.Close() // waits for serve, which waits for its end
	select {
	case err := <-ended:
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the connection was not closed from this side: %v", err)
		}
	default:
		t.Error("Close has returned before serve has")
	}
	if text, err := io.ReadAll(conn); string(text) != "hello" {
		t.Errorf("the peer got %q (%v)", text, err)
	}
}

func TestSocketOutlivesAPanic(t *testing.T) {
	f := newFS(t, memfs.Options{})
	must(t, f.Listen("s", step.Socket{Mode: 0o600, Serve: func(context.Context, net.Conn) { panic("hostile") }},
		ids.Pair{}))
	for range 2 {
		conn, err := net.Dial("unix", within(f, "s"))
		must(t, err)
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("read %d bytes: %v", n, err)
		}
		must(t, conn.Close())
	}
}
