package tree_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cooperbuild/cooper/executor/internal/tree"
)

func TestWhatAProcessAndThoseBelowItTakeIsCounted(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", `exec 3<&0; (x=$(head -c 20000000 /dev/zero | tr '\0' x); echo; read y <&3) & wait`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	taken := tree.Look(cmd.Process.Pid)
	if taken.Processes < 2 || taken.Memory < 20000000 || taken.Memory > 500000000 {
		t.Errorf("%+v", taken)
	}
	if exact := taken.Exact(); exact < 20000000 || exact > taken.Memory {
		t.Errorf("exactly %d of %d bytes", exact, taken.Memory)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if gone := tree.Look(cmd.Process.Pid); gone.Processes != 0 {
		t.Errorf("a process that has ended: %+v", gone)
	}
}

func TestTheFilesOfProcAreRead(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	for name, text := range map[string]string{
		"7/io": "rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n",
	} {
		path := filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if read, wrote := tree.Moved(proc, 7); read != 4096 || wrote != 8192 {
		t.Errorf("read %d, wrote %d", read, wrote)
	}
	if read, wrote := tree.Moved(proc, 8); read != 0 || wrote != 0 {
		t.Errorf("of none: read %d, wrote %d", read, wrote)
	}
}
