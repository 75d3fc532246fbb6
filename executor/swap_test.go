package executor_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// A mount point in a directory that another step can write to may be anything by the time that it gets its mode.
func TestSwappedMountPointIsNotTouched(t *testing.T) {
	tests := map[string]struct {
		dir  bool
		make func(at, secret string) error
	}{
		"link in place of a file":      {false, func(at, secret string) error { return os.Symlink(secret, at) }},
		"link in place of a directory": {true, func(at, secret string) error { return os.Symlink(filepath.Dir(secret), at) }},
		"hard link":                    {false, func(at, secret string) error { return os.Link(secret, at) }},
		"file with text":               {false, func(at, _ string) error { return os.WriteFile(at, []byte("x"), 0o600) }},
		"file of more rights": {false,
			func(at, _ string) error { return errors.Join(os.WriteFile(at, nil, 0o600), os.Chmod(at, 0o666)) }},
		"pipe":                         {false, func(at, _ string) error { return unix.Mkfifo(at, 0o600) }},
		"file in place of a directory": {true, func(at, _ string) error { return os.WriteFile(at, nil, 0o600) }},
		"directory with another in it": {true, func(at, _ string) error { return os.MkdirAll(at+"/below", 0o700) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := &box{t, t.TempDir()}
			dir := b.dir("dir")
			secret := b.path("dir/.private/secret")
			b.write("dir/.private/secret", "")
			b.must(errors.Join(os.Chmod(secret, 0o600), os.Chmod(filepath.Dir(secret), 0o700),
				test.make(b.path("dir/x"), secret)))
			before := modes(t, secret, filepath.Dir(secret), b.path("dir/x"))
			if err := executor.SettleEmpty(int(dir.Fd()), "x", test.dir); !errors.Is(err, executor.ErrSwapped) {
				t.Errorf("got %v", err)
			}
			if after := modes(t, secret, filepath.Dir(secret), b.path("dir/x")); after != before {
				t.Errorf("modes were %o, are %o", before, after)
			}
		})
	}
}

func TestNewMountPointGetsItsMode(t *testing.T) {
	for _, dir := range []bool{false, true} {
		b := &box{t, t.TempDir()}
		at, want := b.path("dir/x"), uint32(unix.S_IFREG|0o644)
		parent := b.dir("dir")
		if dir {
			want = unix.S_IFDIR | 0o755
			b.must(os.Mkdir(at, 0o700))
		} else {
			b.must(os.WriteFile(at, nil, 0o600))
		}
		b.must(executor.SettleEmpty(int(parent.Fd()), "x", dir))
		if got := modes(t, at, at, at); got[0] != want {
			t.Errorf("mode %o, want %o", got[0], want)
		}
	}
}

func modes(t *testing.T, paths ...string) (m [3]uint32) {
	t.Helper()
	for i, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		m[i] = st.Mode
	}
	return m
}
