package pull_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestLayersWithHolesLeftOutAreRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(7 << 30); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "posix"} {
		text, err := exec.Command("tar", "--sparse", "--format="+format, "-C", dir, "-c", "big").Output()
		if err != nil || len(text) > 1<<20 {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
		o := newOrigin()
		s := storetest.Open(t, store.Options{Root: t.TempDir(), Driver: "overlay"})
		_, err = s.Pull.Copy(t.Context(), o, o.image(layerBlob{text, zipped(text)}), copyOptions(""))
		if err == nil || !strings.Contains(err.Error(),
			`a member "big", 7.516GB long, whose holes are left out in GNU tar's way`) ||
			!strings.Contains(err.Error(), "without tar's --sparse") {
			t.Errorf("%s: %v", format, err)
		}
	}
}
