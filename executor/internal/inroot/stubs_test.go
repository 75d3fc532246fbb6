package inroot_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
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
			top := t.TempDir()
			dir := openDir(t, top)
			at, secret := filepath.Join(top, "x"), filepath.Join(top, ".private/secret")
			err := errors.Join(os.Mkdir(filepath.Dir(secret), 0o755), os.WriteFile(secret, nil, 0o600),
				os.Chmod(filepath.Dir(secret), 0o700), test.make(at, secret))
			if err != nil {
				t.Fatal(err)
			}
			before := modes(t, secret, filepath.Dir(secret), at)
			if err := inroot.SettleEmpty(int(dir.Fd()), "x", test.dir); !errors.Is(err, inroot.ErrSwapped) {
				t.Errorf("got %v", err)
			}
			if after := modes(t, secret, filepath.Dir(secret), at); after != before {
				t.Errorf("modes were %o, are %o", before, after)
			}
		})
	}
}

func TestNewMountPointGetsItsMode(t *testing.T) {
	for _, dir := range []bool{false, true} {
		top := t.TempDir()
		at, want := filepath.Join(top, "x"), uint32(unix.S_IFREG|0o644)
		parent := openDir(t, top)
		var err error
		if dir {
			want = unix.S_IFDIR | 0o755
			err = os.Mkdir(at, 0o700)
		} else {
			err = os.WriteFile(at, nil, 0o600)
		}
		if err = errors.Join(err, inroot.SettleEmpty(int(parent.Fd()), "x", dir)); err != nil {
			t.Fatal(err)
		}
		if got := modes(t, at, at, at); got[0] != want {
			t.Errorf("mode %o, want %o", got[0], want)
		}
	}
}

func openDir(t *testing.T, path string) *os.File {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
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
