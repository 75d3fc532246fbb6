package fileop

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netRaw is a security.capability value: version 2, cap_net_raw permitted and effective.
func netRaw() []byte {
	return []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Lstat(path, &st))
	return st
}

func xattr(t *testing.T, path, name string) string {
	t.Helper()
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

func TestTimesAreKeptToTheNanosecond(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"d/s/f": "file F", "d/s/l": "link f", "d/s/p": "fifo", "d/s/big": "file " +
		strings.Repeat("x", 300_000)})
	when := []unix.Timespec{{Sec: 1_000_000_000, Nsec: 1}, {Sec: 1_234_567_890, Nsec: 123_456_789}}
	names := []string{"s/f", "s/l", "s/p", "s/big", "s"}
	for _, name := range names {
		check(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(s.context, "d", name), when, unix.AT_SYMLINK_NOFOLLOW))
	}
	check(t, s.copy(t, []string{"d"}, "/x"))
	for _, name := range names {
		if got := stat(t, filepath.Join(s.layer, "x", name)).Mtim; got != when[1] {
			t.Errorf("%s: got %v, want %v", name, got, when[1])
		}
	}
}

func TestParentsAreMadeAsTheyWere(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"a": "file A"})
	plant(t, s.view, files{"x/y": "dir@2751:3:4"})
	check(t, unix.Setxattr(s.view+"/x/y", "user.note", []byte("kept"), 0))
	when := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	for _, d := range []string{"/x/y", "/x", ""} {
		check(t, os.Chtimes(s.view+d, when, when))
	}
	check(t, os.Chmod(s.view, 0o711))
	check(t, s.copy(t, []string{"a"}, "/x/y/"))
	for _, d := range []string{"", "/x", "/x/y"} {
		got, want := stat(t, s.layer+d), stat(t, s.view+d)
		if got.Mode != want.Mode || got.Uid != want.Uid || got.Gid != want.Gid || got.Mtim != want.Mtim {
			t.Errorf("%q: got %o %d:%d %v, want %o %d:%d %v", d, got.Mode, got.Uid, got.Gid, got.Mtim, want.Mode, want.Uid,
				want.Gid, want.Mtim)
		}
	}
	if got := xattr(t, s.layer+"/x/y", "user.note"); got != "kept" {
		t.Errorf("user.note: %q", got)
	}
	if st := stat(t, s.layer+"/x/y/a"); st.Gid != 0 {
		t.Errorf("group %d came from the setgid directory", st.Gid)
	}
}

func TestNewFilesInASetgidDirectoryOfTheLayer(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"d/a": "file A", "d/s/b": "file B"})
	check(t, os.Chown(s.layer, 0, 55))
	check(t, unix.Chmod(s.layer, 0o2755))
	s.view = s.layer
	check(t, s.copy(t, []string{"d"}, "/"))
	for _, name := range []string{"a", "s", "s/b"} {
		if st := stat(t, filepath.Join(s.layer, name)); st.Gid != 0 || st.Mode&unix.S_ISGID != 0 {
			t.Errorf("%s: mode %o, group %d", name, st.Mode, st.Gid)
		}
	}
}

func TestAsRootExtendedAttributes(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"d/f": "file F", "d/s": "dir"})
	for _, name := range []string{"d/f", "d/s"} {
		for key, value := range map[string]string{
			"user.note": "n", "user.overlay.opaque": "y", "trusted.overlay.opaque": "y", "trusted.overlay.redirect": "/etc",
			"user.containers.override_stat": "0:0:0755", "trusted.other": "o",
		} {
			check(t, unix.Setxattr(filepath.Join(s.context, name), key, []byte(value), 0))
		}
	}
	check(t, unix.Setxattr(s.context+"/d/f", "security.capability", netRaw(), 0))
	o := s.options(t, []string{"d"}, "/x")
	o.Chown, o.Chmod = &Owner{5, 6}, "4755"
	_, err := Copy(t.Context(), o)
	check(t, err)
	if got := xattr(t, s.layer+"/x/f", "security.capability"); got != string(netRaw()) {
		t.Errorf("capability: %q", got)
	}
	if st := stat(t, s.layer+"/x/f"); st.Mode&0o7777 != 0o4755 || st.Uid != 5 {
		t.Errorf("mode %o, owner %d", st.Mode, st.Uid)
	}
	for _, name := range []string{"x/f", "x/s"} {
		buf := make([]byte, 1024)
		n, err := unix.Listxattr(filepath.Join(s.layer, name), buf)
		check(t, err)
		for key := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
			if key != "user.note" && key != "security.capability" {
				t.Errorf("%s: %s was copied", name, key)
			}
		}
		if got := xattr(t, filepath.Join(s.layer, name), "user.note"); got != "n" {
			t.Errorf("%s: user.note is %q", name, got)
		}
	}
}

func TestSparseAndLargeFiles(t *testing.T) {
	s := newStage(t)
	f, err := os.Create(s.context + "/sparse")
	check(t, err)
	for _, at := range []int64{1 << 20, 5 << 20} {
		_, err = f.WriteAt(bytes.Repeat([]byte("data"), 70_000), at)
		check(t, err)
	}
	check(t, f.Truncate(64<<20))
	check(t, f.Close())
	check(t, os.WriteFile(s.context+"/solid", bytes.Repeat([]byte("0123456789abcde"), 1<<20), 0o600))
	o := s.options(t, []string{"."}, "/")
	var files, moved, calls atomic.Int64
	o.Moved = func(n, size int64) {
		files.Add(n)
		moved.Add(size)
		calls.Add(1)
	}
	r, err := Copy(t.Context(), o)
	check(t, err)
	if want := int64(64<<20 + 15<<20); r.Bytes != want || r.Files != 2 || moved.Load() != want || files.Load() != 2 ||
		calls.Load() < 5 {
		t.Errorf("got %+v, and was told of %d files and %d bytes in %d pieces; want %d bytes", r, files.Load(), moved.Load(),
			calls.Load(), want)
	}
	for _, name := range []string{"/sparse", "/solid"} {
		want, err := os.ReadFile(s.context + name)
		check(t, err)
		got, err := os.ReadFile(s.layer + name)
		check(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs", name)
		}
	}
	if from, to := stat(t, s.context+"/sparse"), stat(t, s.layer+"/sparse"); to.Blocks > from.Blocks+64 {
		t.Errorf("%d blocks became %d", from.Blocks, to.Blocks)
	}
}

func TestASocketBecomesAnEmptyFile(t *testing.T) {
	s := newStage(t)
	check(t, unix.Mknod(s.context+"/socket", unix.S_IFSOCK|0o600, 0))
	check(t, os.Chmod(s.context+"/socket", 0o622))
	check(t, s.copy(t, []string{"."}, "/x"))
	if st := stat(t, s.layer+"/x/socket"); st.Mode != unix.S_IFREG|0o622 || st.Size != 0 {
		t.Errorf("mode %o, %d bytes", st.Mode, st.Size)
	}
}

func TestAsRootDeviceNodes(t *testing.T) {
	s := newStage(t)
	check(t, unix.Mknod(s.context+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	check(t, os.Chmod(s.context+"/null", 0o666))
	plant(t, s.context, files{"f": "file F"})
	o := s.options(t, []string{"."}, "/")
	o.KeepOwner = true
	_, err := Copy(t.Context(), o)
	check(t, err)
	if st := stat(t, s.layer+"/null"); st.Mode != unix.S_IFCHR|0o666 || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("null: mode %o, device %x", st.Mode, st.Rdev)
	}
}

func TestAWhiteoutIsNotCopied(t *testing.T) {
	s := newStage(t)
	check(t, unix.Mknod(s.context+"/etc", unix.S_IFCHR, 0))
	wantError(t, s.copy(t, []string{"."}, "/"), ErrWhiteout)
}

func TestADeletionInTheLayerIsReplaced(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"d/x/f": "file F", "d/y": "file Y"})
	plant(t, s.view, files{"x/old": "file old", "y/old": "file old"})
	for _, name := range []string{"/x", "/y"} {
		check(t, unix.Mknod(s.layer+name, unix.S_IFCHR, 0))
	}
	check(t, s.copy(t, []string{"d"}, "/"))
	if got := xattr(t, s.layer+"/x", overlayXattr(t)+"opaque"); got != "y" {
		t.Errorf("x isn't opaque: %q", got)
	}
	if got := read(t, s.layer); got["x/f"] != "file F @0644" || got["y"] != "file Y @0644" {
		t.Errorf("got %v", got)
	}
}

func TestWritingIntoTheTreeItself(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"d/f": "file new", "d/s/g": "file G"})
	plant(t, s.view, files{"x": "dir@0700:2:2", "x/f": "file old", "x/s/h": "file H"})
	s.layer = s.view
	check(t, s.copy(t, []string{"d"}, "/x"))
	got := read(t, s.view)
	want := files{"x": "dir @0700:2:2", "x/f": "file new @0644", "x/s/g": "file G @0644", "x/s/h": "file H @0644"}
	for name, want := range want {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
}

func TestCancelledCopyStops(t *testing.T) {
	s := newStage(t)
	manyFiles(t, s.context, 3000, 10)
	fds := openFDs(t)
	ctx, cancel := newCancelled(t)
	cancel()
	o := s.options(t, []string{"."}, "/")
	_, err := Copy(ctx, o)
	wantError(t, err, errTestCancelled)
	if now := openFDs(t); now > fds+2 {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
}
