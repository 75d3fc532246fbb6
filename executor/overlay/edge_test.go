package overlay_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
)

func TestOneLayerIsShownReadOnly(t *testing.T) {
	_, o := fixture(t)
	o.Lower = o.Lower[:1]
	root, err := overlay.Mount(o)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if got := readAt(t, root, "c"); got != "c3" {
		t.Errorf("c: %q", got)
	}
	if err := writeAt(root, "x", ""); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v", err)
	}
}

func TestNoLayersAreAnEmptyView(t *testing.T) {
	root, err := overlay.Mount(overlay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := writeAt(root, "x", ""); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v", err)
	}
}

func TestUpperAloneIsWrittenDirectly(t *testing.T) {
	base := t.TempDir()
	root, err := overlay.Mount(overlay.Options{Upper: dir(t, base+"/upper")})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := writeAt(root, "x", "y"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(base + "/upper/x"); string(b) != "y" {
		t.Errorf("upper has %q", b)
	}
}

func TestLayerCount(t *testing.T) {
	base := t.TempDir()
	var lower []*os.File
	for range overlay.MaxLower + 1 {
		lower = append(lower, dir(t, base+"/"+strings.Repeat("x", len(lower)%200+1)+"/"+string(rune('a'+len(lower)/200))))
	}
	if _, err := overlay.Mount(overlay.Options{Lower: lower, UserXattr: inside()}); !errors.Is(err,
		overlay.ErrTooManyLayers) {
		t.Errorf("%d layers: %v", len(lower), err)
	}
	root, err := overlay.Mount(overlay.Options{Lower: lower[1:], UserXattr: inside()})
	if err != nil {
		t.Fatalf("%d layers: %v", len(lower)-1, err)
	}
	root.Close()
}

func TestRenamedLayersAreStillFound(t *testing.T) {
	base, o := fixture(t)
	for _, l := range []string{"l1", "l2", "l3"} {
		if err := os.Rename(base+"/"+l, base+"/moved-"+l); err != nil {
			t.Fatal(err)
		}
	}
	root, err := overlay.Mount(o)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	checkView(t, root)
}

func TestAsRootDeviceNodesCanNotBeOpened(t *testing.T) {
	base, o := fixture(t)
	if err := unix.Mknod(base+"/l3/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	root, err := overlay.Mount(o)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := writeAt(root, "null", "x"); !errors.Is(err, unix.EACCES) {
		t.Errorf("open a device: %v", err)
	}
}

func TestAsRootIDMapKeepsContainerIDsOnDisk(t *testing.T) {
	ids, err := userns.NewMap(userns.Range{Container: 0, Host: 200000, Length: 65536})
	if err != nil {
		t.Fatal(err)
	}
	mapping := userns.Mapping{UIDs: ids, GIDs: ids}
	for name, mount := range map[string]func(overlay.Options) (*os.File, error){
		"mount":                       overlay.Mount,
		"by the way of older kernels": withUserNS(overlay.MountPrivately),
		"by the classic call":         withUserNS(overlay.MountClassic),
	} {
		t.Run(name, func(t *testing.T) {
			base, o := fixture(t)
			if err := os.Chown(base+"/l1/etc/a", 33, 34); err != nil {
				t.Fatal(err)
			}
			o.Upper, o.Work = dir(t, base+"/deep/er/upper"), dir(t, base+"/work")
			o.IDMap = &mapping
			root, err := mount(o)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			var st unix.Stat_t
			if err := unix.Fstatat(int(root.Fd()), "etc/a", &st, 0); err != nil || st.Uid != 200033 || st.Gid != 200034 {
				t.Errorf("owner in the mount %d:%d, %v", st.Uid, st.Gid, err)
			}
			if err := unix.Fchownat(int(root.Fd()), "etc/a", 200007, 200008, 0); err != nil {
				t.Fatal(err)
			}
			if err := unix.Stat(base+"/deep/er/upper/etc/a", &st); err != nil || st.Uid != 7 || st.Gid != 8 {
				t.Errorf("owner on disk %d:%d, %v", st.Uid, st.Gid, err)
			}
		})
	}
}

func withUserNS(mount func(overlay.Options) (*os.File, error)) func(overlay.Options) (*os.File, error) {
	return func(o overlay.Options) (*os.File, error) {
		ns, err := overlay.NewUserNS(*o.IDMap)
		if err != nil {
			return nil, err
		}
		defer ns.Close()
		o.UserNS = ns
		return mount(o)
	}
}

func TestCommonDirectory(t *testing.T) {
	tests := map[string]struct {
		a, b  string
		depth int
		relA  string
		relB  string
	}{
		"siblings":    {"/s/upper", "/s/work", 1, "upper", "work"},
		"cousins":     {"/s/1/upper", "/s/2/work", 2, "1/upper", "2/work"},
		"only root":   {"/a/b", "/c", 2, "a/b", "c"},
		"like prefix": {"/s/ab/u", "/s/a/w", 2, "ab/u", "a/w"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			depth, relA, relB := overlay.Common(test.a, test.b)
			if depth != test.depth || relA != test.relA || relB != test.relB {
				t.Errorf("got %d %q %q", depth, relA, relB)
			}
		})
	}
}

func BenchmarkMount(b *testing.B) {
	base := b.TempDir()
	o := overlay.Options{UserXattr: inside(), Volatile: true}
	open := func(name string) *os.File {
		if err := os.MkdirAll(base+"/"+name, 0o755); err != nil {
			b.Fatal(err)
		}
		fd, err := unix.Open(base+"/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		return os.NewFile(uintptr(fd), name)
	}
	o.Lower = []*os.File{open("a"), open("b")}
	o.Upper, o.Work = open("upper"), open("work")
	for b.Loop() {
		root, err := overlay.Mount(o)
		if err != nil {
			b.Fatal(err)
		}
		root.Close()
	}
}
