package executor_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// TestStandardStreamsOfTheCallerKeepTheirOwner is for runtimes that give the standard streams to the step's user.
func TestStandardStreamsOfTheCallerKeepTheirOwner(t *testing.T) {
	b := newBox(t)
	file, err := os.Create(b.path("out"))
	b.must(err)
	defer file.Close()
	for _, mapped := range []bool{false, true} {
		if mapped && inside() {
			continue
		}
		s := b.step("/bin/sh", "-c", "cat; echo out; echo err >&2")
		s.User, s.Stdout, s.Stderr = "alice", file, nil
		if mapped {
			s.Mapping = testMapping(t)
		}
		null := ownerOf(t, "/dev/null")
		before := ownerOf(t, file.Name())
		status, err := executor.Run(t.Context(), s)
		b.must(err)
		if status.ExitCode != 0 {
			t.Errorf("status %+v", status)
		}
		if after := ownerOf(t, "/dev/null"); after != null {
			t.Errorf("/dev/null belonged to %v, now to %v", null, after)
			b.must(unix.Chown("/dev/null", int(null[0]), int(null[1])))
		}
		if after := ownerOf(t, file.Name()); after != before {
			t.Errorf("the output belonged to %v, now to %v", before, after)
		}
	}
	if data, err := os.ReadFile(file.Name()); err != nil || len(data) == 0 {
		t.Errorf("output: %q %v", data, err)
	}
}

func ownerOf(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return [2]uint32{st.Uid, st.Gid}
}
