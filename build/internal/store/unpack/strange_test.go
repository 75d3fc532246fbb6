package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns/asroot"
)

// TestStrangeArchivesAreLeftToTheLibrary has archives that are no layer, or none that is unpacked here. Whatever they
// are, nothing is written outside of the directory, and no descriptor is left.
func TestStrangeArchivesAreLeftToTheLibrary(t *testing.T) {
	large := strings.Repeat("x", smallFile+1) // it is there when the next member comes
	const out = "OUT"                         // becomes the path of a directory beside the layer's
	for name, test := range map[string]struct {
		members []member
		want    error // besides ErrStrange
	}{
		"below a link": {[]member{linked(tar.TypeSymlink, "l", out), file("l/evil", "E")}, unix.ELOOP},
		"below a link up": {[]member{linked(tar.TypeSymlink, "l", ".."), file("l/OUT/evil", "E")},
			unix.ELOOP},
		"below a link to itself": {[]member{linked(tar.TypeSymlink, "l", "l"), file("l/evil", "E")}, unix.ELOOP},
		"a directory below a link": {[]member{linked(tar.TypeSymlink, "l", out), directoryOf("l/d", 0o755)},
			unix.ELOOP},
		"two below a link": {[]member{linked(tar.TypeSymlink, "l", out), file("l/a/b/evil", "")}, unix.ELOOP},
		"through a process's root": {[]member{linked(tar.TypeSymlink, "l", "/proc/self/root"),
			file("l/tmp/evil", "")}, unix.ELOOP},
		"opaque below a link": {[]member{linked(tar.TypeSymlink, "l", out), file("l/.wh..wh..opq", "")},
			unix.ELOOP},
		"a whiteout below a link": {[]member{linked(tar.TypeSymlink, "l", out), file("l/.wh.secret", "")},
			unix.ELOOP},
		"a device below a link": {[]member{linked(tar.TypeSymlink, "l", out), linked(tar.TypeFifo, "l/p", "")},
			unix.ELOOP},
		"a link below a link": {[]member{linked(tar.TypeSymlink, "l", out), linked(tar.TypeSymlink, "l/k", "x")},
			unix.ELOOP},
		"a link that a directory replaces": {[]member{linked(tar.TypeSymlink, "l", out), directoryOf("l", 0o777)}, nil},
		"a directory that a link replaces": {[]member{directoryOf("d", 0o777), linked(tar.TypeSymlink, "d", out)}, nil},
		"an implied one that a link replaces": {
			[]member{file("d/a", ""), linked(tar.TypeSymlink, "d", out), file("d/evil", "E")}, unix.EEXIST},
		"a hard link over a link": {[]member{linked(tar.TypeSymlink, "l", out),
			linked(tar.TypeLink, "h", "l/secret")}, nil},
		"a hard link to nothing":          {[]member{linked(tar.TypeLink, "h", "nowhere")}, nil},
		"a hard link to itself":           {[]member{linked(tar.TypeLink, "h", "h")}, nil},
		"a hard link to what comes later": {[]member{linked(tar.TypeLink, "h", "a"), file("a", "")}, nil},
		"a hard link to a directory":      {[]member{directoryOf("d", 0o755), linked(tar.TypeLink, "h", "d")}, unix.EPERM},
		"a hard link to the root": {[]member{directoryOf("./", 0o755), linked(tar.TypeLink, "h", "/")},
			nil},
		"a hard link that is the root": {[]member{file("a", ""), linked(tar.TypeLink, "/", "a")}, nil},
		"a hard link below a file": {[]member{file("a", large), file("b", ""), linked(tar.TypeLink, "a/h", "b")},
			unix.ENOTDIR},
		"a hard link in place of a file": {[]member{file("a", ""), file("b", ""), linked(tar.TypeLink, "b", "a")}, nil},
		"a path twice":                   {[]member{file("a", "1"), file("a", "2")}, nil},
		"a path twice in other words":    {[]member{file("a", "1"), file("x/.././a", "2")}, nil},
		"a directory twice":              {[]member{directoryOf("d", 0o700), directoryOf("d/", 0o777)}, nil},
		"a file below a file":            {[]member{file("a", large), file("a/b", "")}, unix.ENOTDIR},
		"a file below a FIFO":            {[]member{linked(tar.TypeFifo, "p", ""), file("p/b", "")}, unix.ENOTDIR},
		"a file as the root":             {[]member{file(".", "text")}, nil},
		"a file without a name":          {[]member{file("", "text")}, nil},
		"a link as the root":             {[]member{linked(tar.TypeSymlink, "./", out)}, nil},
		"a link to nothing at all":       {[]member{linked(tar.TypeSymlink, "l", "")}, unix.ENOENT},
		"a name of 300 bytes":            {[]member{file(strings.Repeat("n", 300), "")}, unix.ENAMETOOLONG},
		"a directory of 300 bytes":       {[]member{file(strings.Repeat("n", 300)+"/f", "")}, unix.ENAMETOOLONG},
		"a link of 300 bytes in a part": {[]member{linked(tar.TypeSymlink, "l", strings.Repeat("n", 300)), file("l/x", "")},
			unix.ELOOP},
		"hides nothing":                 {[]member{file(".wh.", "")}, nil},
		"hides a directory itself":      {[]member{file("d/.wh..", "")}, nil},
		"hides the directory above":     {[]member{file("d/.wh...", "")}, nil},
		"a mark of aufs":                {[]member{file(".wh..wh.plnk", "")}, nil},
		"a mark of aufs as a directory": {[]member{directoryOf(".wh..wh.aufs", 0o755), file(".wh..wh.aufs/x", "")}, nil},
		"hides a mark":                  {[]member{file("d/.wh..wh.x", "")}, nil},
		"below a whiteout":              {[]member{file(".wh.d", ""), file("d/x", "")}, nil},
		"hides what it has":             {[]member{file("a", ""), file(".wh.a", "")}, nil},
		"a kind that nobody knows":      {[]member{{tar.Header{Typeflag: tar.TypeCont, Name: "c"}, ""}}, nil},
		"a kind of a vendor":            {[]member{{tar.Header{Typeflag: 'V', Name: "volume"}, ""}}, nil},
		"an attribute without a name":   {[]member{with(file("a", ""), "", "x")}, nil},
		"an attribute with a long name": {[]member{with(file("a", ""), "user."+strings.Repeat("n", 300), "x")}, nil},
		"an attribute that is too long": {[]member{with(file("a", ""), "user.a", strings.Repeat("x", 1<<17))}, nil},
		"an ACL that is none":           {[]member{with(file("a", ""), "system.posix_acl_access", "n")}, unix.EINVAL},
		"a directory's ACL that is none": {[]member{with(directoryOf("d", 0o755), "system.posix_acl_default", "n")},
			unix.EINVAL},
		"capabilities that are none": {[]member{with(file("a", ""), "security.capability", "n")}, unix.EINVAL},
		"a link with a user's attribute": {[]member{with(linked(tar.TypeSymlink, "l", "x"), "security.capability", "x")},
			nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outside := t.TempDir()
			if err := os.WriteFile(outside+"/secret", []byte("secret"), 0o640); err != nil {
				t.Fatal(err)
			}
			members := make([]member, 0, len(test.members))
			for _, m := range test.members {
				m.Name, m.Linkname = strings.ReplaceAll(m.Name, out, outside), strings.ReplaceAll(m.Linkname, out, outside)
				members = append(members, m)
			}
			u, _, err := unpacked(t, members...)
			if !errors.Is(err, ErrStrange) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want a strange archive, %v", err, test.want)
			}
			want := map[string]string{"secret": "file secret @0640"}
			if diff := cmp.Diff(want, look(t, outside)); diff != "" {
				t.Errorf("outside (-want +got):\n%s", diff)
			}
			for _, path := range openFiles(t) {
				if strings.HasPrefix(path, u.Dir) {
					t.Errorf("%s is still open", path)
				}
			}
		})
	}
}

// TestAStrangeMemberIsNamed, and so is what is wrong with it.
func TestAStrangeMemberIsNamed(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", smallFile+1)
	for name, test := range map[string]struct {
		members []member
		want    string
	}{
		"member": {[]member{file("a", large), file("a/b", "")}, `unpack "/a": not a directory`},
		"link": {[]member{directoryOf("d", 0o755), linked(tar.TypeLink, "x/h", "d")},
			`unpack "/x/h": operation not permitted`},
		"small": {[]member{with(file("dir/a", ""), "security.capability", "n")},
			`unpack "a": set security.capability: invalid`},
		"large": {[]member{with(file("b", large), "security.capability", "n")},
			`unpack "b": set security.capability: invalid`},
		"directory": {[]member{with(directoryOf("d", 0o755), "system.posix_acl_access", "n")},
			`unpack "/d": set system.posix_acl_access: invalid`},
		"a FIFO": {[]member{with(linked(tar.TypeFifo, "p", ""), "system.posix_acl_access", "n")},
			`unpack "p": set system.posix_acl_access: invalid`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := unpacked(t, test.members...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestWhatIsRefusedIsRefusedBeforeItIsWritten has members that no tool would unpack.
func TestWhatIsRefusedIsRefusedBeforeItIsWritten(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a/", maxName/2)
	for name, test := range map[string]struct {
		m    member
		want string
	}{
		"outside":                 {file("../evil", ""), "outside of the image"},
		"a whiteout of overlay's": {deviceOf(tar.TypeChar, "w", 0, 0), "device 0:0"},
		"one by its major number": {deviceOf(tar.TypeChar, "w", 4096, 0),
			"device 4096:0: Linux has devices from 0:0 to 4095:1048575"},
		"one by its minor number":   {deviceOf(tar.TypeChar, "w", 0, 1<<20), "device 0:1048576: Linux has"},
		"one by 32 bits":            {deviceOf(tar.TypeChar, "w", 1<<32, 1<<32), "device 4294967296:4294967296: Linux has"},
		"a disk that is none":       {deviceOf(tar.TypeBlock, "w", 4096, 0), "device 4096:0: Linux has"},
		"an opaque directory":       {with(directoryOf("w", 0o755), "trusted.overlay.opaque", "y"), "trusted.overlay.opaque"},
		"a path that is too long":   {file(long+"xx", ""), "a path of 4096 bytes"},
		"a target that is too long": {linked(tar.TypeSymlink, "l", long+"xx"), "a path of 4096 bytes"},
		"an owner that is none":     {owned(file("w", ""), 1<<32-1, 0), "IDs go from 0 to 4294967294"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := test.m
			if m.Devmajor > 0o7777777 {
				m.Format = tar.FormatGNU // the others have seven digits
			}
			u, _, err := unpacked(t, m)
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrStrange) {
				t.Errorf("unpacked: %v, want %q", err, test.want)
			}
			archive := archived(t, m)
			if _, err := Scan(bytes.NewReader(archive), digest.FromBytes(archive)); err == nil ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("scanned: %v, want %q", err, test.want)
			}
			if all := look(t, u.Dir); len(all) > 0 {
				t.Errorf("it has %v", all)
			}
		})
	}
	// The longest path that there can be is none that is refused, if the file system has it.
	if _, _, err := unpacked(t, file(long+"x", "")); err != nil {
		t.Error(err)
	}
}

// TestAnOwnerThatCanNotBeIsTold has an ID that a user namespace doesn't map, which root of the machine can't meet.
func TestAnOwnerThatCanNotBeIsTold(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]member{
		"a file": file("x", ""), "a large file": file("x", strings.Repeat("x", smallFile+1)),
		"a directory": directoryOf("x", 0o755),
		"a link":      linked(tar.TypeSymlink, "x", "y"), "a FIFO": linked(tar.TypeFifo, "x", ""),
		"a whiteout":  file(".wh.x", ""),
		"a hard link": linked(tar.TypeLink, "x", "first"), "the root": directoryOf("./", 0o755),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const beyond = 200_000
			_, res, err := unpacked(t, file("first", ""), owned(m, beyond, 5), owned(file("later", ""), 7, 8))
			if asroot.Real() {
				if err != nil {
					t.Error(err)
				}
				return
			}
			owner := new(OwnerError)
			if !errors.As(err, &owner) || owner.UID != beyond || owner.GID != 5 || !errors.Is(err, unix.EINVAL) ||
				!strings.Contains(err.Error(), "give it to 200000:5: invalid argument") || errors.Is(err, ErrStrange) {
				t.Errorf("got %v", err)
			}
			// Whoever maps more IDs wants to know all of them.
			if !res.UIDs[beyond] || !res.UIDs[7] || !res.GIDs[8] {
				t.Errorf("owners: %v, %v", res.UIDs, res.GIDs)
			}
		})
	}
}

// TestTwoArchivesInOneDirectoryDoNotMix has a directory that isn't empty: another's file is never written to.
func TestTwoArchivesInOneDirectoryDoNotMix(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(path string) error{
		"a file":      func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) },
		"a link":      func(path string) error { return os.Symlink(secret, path) },
		"a hard link": func(path string) error { return os.Link(secret, path) },
		"a FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		for size, text := range map[string]string{"small": "other", "large": strings.Repeat("x", smallFile+1)} {
			archive := archived(t, file("f", text))
			u := begin(t, archive)
			if err := plant(u.Dir + "/f"); err != nil {
				t.Fatal(err)
			}
			before := look(t, u.Dir)
			_, err := Unpack(t.Context(), bytes.NewReader(archive), u.Options)
			if !errors.Is(err, ErrStrange) || !errors.Is(err, unix.EEXIST) {
				t.Errorf("%s, %s: %v", name, size, err)
			}
			if diff := cmp.Diff(before, look(t, u.Dir)); diff != "" {
				t.Errorf("%s, %s: the directory has changed (-want +got):\n%s", name, size, diff)
			}
			if name == "a hard link" {
				if err := os.Remove(u.Dir + "/f"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != "secret" {
		t.Errorf("the file elsewhere has %q, %v", text, err)
	}
}
