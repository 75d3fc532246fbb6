package unpack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// small mounts a file system in memory at the directory of an archive.
func small(t *testing.T, u *unpacking, options string) {
	t.Helper()
	dir := u.Dir
	if err := unix.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestAFullDiskIsNoStrangeArchive has one fill up at each kind of file: the library would only meet the same.
func TestAFullDiskIsNoStrangeArchive(t *testing.T) {
	const room, one = "size=64k", "nr_inodes=1" // the root directory takes an inode
	text := strings.Repeat("x", smallFile-1)
	for name, test := range map[string]struct {
		options string
		members []member
	}{
		"small files":    {room, []member{file("a", text), file("b", text), file("c", text)}},
		"a large file":   {room, []member{file("a", strings.Repeat("x", 3*smallFile))}},
		"a directory":    {one, []member{directoryOf("d", 0o755)}},
		"an implied one": {one, []member{file("d/f", "")}},
		"a link":         {one, []member{linked('2', "l", "x")}},
		"a FIFO":         {one, []member{linked('6', "p", "")}},
		"a whiteout":     {one, []member{file(".wh.a", "")}},
		"an empty file":  {one, []member{file("a", ""), file("b", "")}},
		"a hard link":    {"nr_inodes=2", []member{file("a", ""), linked('1', "b", "a"), linked('1', "c", "a")}},
	} {
		t.Run(name, func(t *testing.T) {
			archive := archived(t, test.members...)
			u := begin(t, archive)
			small(t, u, test.options)
			_, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options)
			if !errors.Is(err, unix.ENOSPC) || errors.Is(err, ErrStrange) || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAFileSystemThatCanNotBeWrittenToIsTold(t *testing.T) {
	archive := archived(t, file("a", "a"))
	u := begin(t, archive)
	small(t, u, "size=64k")
	if err := unix.Mount("none", u.Dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options)
	if !errors.Is(err, unix.EROFS) || errors.Is(err, ErrStrange) || !strings.Contains(err.Error(), "prepare "+u.Dir) {
		t.Errorf("got %v", err)
	}
	u.Dir = "/nowhere/at/all"
	if _, err = Unpack(t.Context(), bytes.NewReader(archive), u.Options); !errors.Is(err, os.ErrNotExist) ||
		!strings.Contains(err.Error(), u.Dir) {
		t.Errorf("got %v", err)
	}
}

// TestAFileSystemWithoutAttributesIsTakenAsItIs: tmpfs has no access control lists where it is mounted so.
func TestAFileSystemWithoutAttributesIsTakenAsItIs(t *testing.T) {
	// The version of an access control list that no kernel has is one that the file system doesn't support.
	u, _, err := unpacked(t, with(file("a", "text"), "system.posix_acl_access", "none"),
		with(file("b", ""), "unknown.kind", "x"),
		with(directoryOf("d", 0o755), "unknown.kind", "x"), with(linked('2', "l", "x"), "unknown.kind", "x"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "file text @0644", "b": "file  @0644", "d": "dir @0755", "l": "link x"}
	if diff := cmp.Diff(want, look(t, u.Dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// refusing takes some bytes of the records.
type refusing struct {
	io.Writer
	left int
}

var errRefused = errors.New("the disk of the records is full")

func (r *refusing) Write(p []byte) (int, error) {
	if r.left -= len(p); r.left < 0 {
		return 0, errRefused
	}
	return r.Writer.Write(p)
}

// TestRecordsThatCanNotBeWrittenAreTold has all the places at which they are written.
func TestRecordsThatCanNotBeWrittenAreTold(t *testing.T) {
	t.Parallel()
	members := make([]member, 0, 500)
	for i := range cap(members) {
		members = append(members, file(fmt.Sprint(i), ""))
	}
	archive := append(archived(t, members...), make([]byte, 4*pieceSize)...)
	whole := begin(t, archive)
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), whole.Options); err != nil {
		t.Fatal(err)
	}
	for size := 0; size < whole.split.Len(); size += 160 << 10 {
		u := begin(t, archive)
		u.TarSplit = &refusing{io.Discard, size}
		_, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options)
		if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "write tar-split: ") || errors.Is(err, ErrStrange) {
			t.Errorf("after %d bytes: %v", size, err)
		}
	}
}

// TestArchivesShareWritersButNoErrors unpacks many at once, half of which can't be.
func TestArchivesShareWritersButNoErrors(t *testing.T) {
	t.Parallel()
	writers := NewWriters()
	defer writers.Close()
	var good, bad []member
	want := map[string]string{"d": "dir @0755"}
	for i := range 200 {
		name, text := fmt.Sprintf("d/%d", i), strings.Repeat(fmt.Sprint(i), i)
		good, want[name] = append(good, file(name, text)), "file "+text+" @0644"
	}
	for i := range 200 {
		bad = append(bad, with(file(fmt.Sprint(i), "text"), "security.capability", "none"))
	}
	var all sync.WaitGroup
	for i := range 12 {
		members := [][]member{good, bad}[i%2]
		archive := archived(t, members...)
		u := begin(t, archive)
		u.Writers = writers
		all.Go(func() {
			_, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options)
			if i%2 == 1 {
				if !errors.Is(err, ErrStrange) || !errors.Is(err, unix.EINVAL) {
					t.Errorf("%d: %v", i, err)
				}
				return
			}
			if diff := cmp.Diff(want, look(t, u.Dir)); err != nil || diff != "" {
				t.Errorf("%d: %v, files (-want +got):\n%s", i, err, diff)
			}
		})
	}
	all.Wait()
}

// FuzzUnpack has an archive of any kind: nothing is written outside, and what unpacking takes the other way takes, too,
// and finds the same in it.
func FuzzUnpack(f *testing.F) {
	f.Add(archived(f, directoryOf("d", 0o755), file("d/f", "F"), linked('2', "l", "d"), linked('1', "h", "d/f")))
	f.Add(archived(f, linked('2', "a", "../../.."), file("a/b", "B")))
	f.Add(archived(f, file("d/.wh.x", ""), file("d/.wh..wh..opq", ""), file("d/x", "")))
	f.Add(archived(f, with(file("a", ""), "security.capability", "x"), deviceOf('3', "null", 1, 3)))
	f.Fuzz(func(t *testing.T, archive []byte) {
		if len(archive) > 1<<20 {
			return // it is long
		}
		u := begin(t, archive)
		res, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options)
		beside, readErr := os.ReadDir(u.Dir + "/..")
		if readErr != nil || len(beside) != 1 {
			t.Fatalf("beside the layer: %v, %v", beside, readErr)
		}
		if err != nil {
			return
		}
		found, err := Scan(bytes.NewReader(archive), digest.FromBytes(archive))
		if err != nil {
			t.Fatalf("it was unpacked, and can't be scanned: %v", err)
		}
		if found.Odd || found.Size != res.Size || !cmp.Equal(found.UIDs, res.UIDs) || !cmp.Equal(found.GIDs, res.GIDs) {
			t.Fatalf("scanned %+v, unpacked %+v", found, res.Archive)
		}
	})
}
