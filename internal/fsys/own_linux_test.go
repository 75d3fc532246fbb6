package fsys

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFilesThatAProcessMakesAreItsOwn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	uid, gid := OwnIDs()
	if st.Uid != uid || st.Gid != gid || !Mine(&st) {
		t.Errorf("a new file is of %d:%d, this process makes those of %d:%d", st.Uid, st.Gid, uid, gid)
	}
	st.Uid++
	if Mine(&st) {
		t.Error("another's file is taken for this process's")
	}
}
