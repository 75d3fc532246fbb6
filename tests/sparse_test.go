package tests_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestHugeSparseFilesAreNamedAndShown has a step make what useradd makes for a high user ID: a file of holes that
// everybody who reads the layer goes through. It never takes space here. One user is enough: who it is has no part in
// it, and each reading takes seconds.
func TestHugeSparseFilesAreNamedAndShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.busybox(t, "base")
	const size = 4<<30 + 1<<20
	s.write(t, "ctx/Containerfile",
		"FROM base\nRUN mkdir -p /var/log && truncate -s 4097M /var/log/lastlog && printf end >>/var/log/lastlog\n")
	r := s.cooper(t, "build", "--progress=plain", "-o", "files", "ctx")
	r.succeeds(t)
	for _, part := range []string{"ctx/Containerfile:2: /var/log/lastlog is 4.296GB long, with ",
		`"useradd --no-log-init" makes none`, "reading the files of RUN mkdir", "reading: "} {
		if !strings.Contains(r.Stderr, part) {
			t.Errorf("no %q in %s", part, tail(r.Stderr))
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(s.path("files/var/log/lastlog"), &st); err != nil || st.Size != size+3 ||
		st.Blocks*512 > 1<<20 {
		t.Errorf("the output has %d bytes, %d of them on disk, %v", st.Size, st.Blocks*512, err)
	}
	f, err := os.Open(s.path("files/var/log/lastlog"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end := make([]byte, 4)
	if _, err := f.ReadAt(end, size-1); err != nil || string(end) != "\x00end" {
		t.Errorf("it ends with %q, %v", end, err)
	}
}
