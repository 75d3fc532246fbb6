package fileop

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/userns/accounts"
)

// userRoot is an image with users.
func userRoot(t *testing.T) *os.File {
	t.Helper()
	root := t.TempDir()
	plant(t, root, files{
		"etc/passwd": "file root:x:0:0:root:/root:/bin/sh\n# comment\nbroken line\nwww:x:33:34:www:/var/www:/bin/false\n" +
			"bad:x:no:0::/:\nnohome:x:50:51\n1000:x:7:8::/seven:\n",
		"usr/group": "file root:x:0:\nweb:x:34:\nstaff:x:50:www,nohome\naudio:x:29:other,www\nbad:x\n",
		"etc/group": "link ../../usr/group",
	})
	return openRoot(t, root)
}

func TestLookupOwner(t *testing.T) {
	root := userRoot(t)
	for _, c := range []struct {
		spec string
		want Owner
		err  error
	}{
		{spec: "0", want: Owner{0, 0}},
		{spec: "1234", want: Owner{1234, 1234}},
		{spec: "1234:5", want: Owner{1234, 5}},
		{spec: "www", want: Owner{33, 34}},
		{spec: "www:staff", want: Owner{33, 50}},
		{spec: "www:7", want: Owner{33, 7}},
		{spec: "5:audio", want: Owner{5, 29}},
		{spec: ":staff", want: Owner{0, 50}},
		{spec: "www:", want: Owner{33, 34}},
		{spec: "1000:", want: Owner{1000, 1000}},
		{spec: "root", want: Owner{0, 0}},
		{spec: "root:web", want: Owner{0, 34}},
		{spec: "nobody", err: ErrNoSuchUser},
		{spec: "www:nogroup", err: ErrNoSuchUser},
		{spec: "4294967295", err: ErrNoSuchUser},
		{spec: "99999999999", err: ErrNoSuchUser},
		{spec: "-1", err: ErrNoSuchUser},
	} {
		got, err := LookupOwner(root, c.spec)
		if !errors.Is(err, c.err) || got != c.want {
			t.Errorf("%q: got %v, %v", c.spec, got, err)
		}
	}
	if _, err := LookupOwner(root, ""); err == nil {
		t.Error("an empty owner is no error")
	}
	if got, err := LookupOwner(nil, "5:6"); err != nil || got != (Owner{5, 6}) {
		t.Errorf("scratch: %v, %v", got, err)
	}
	for _, spec := range []string{"root", "root:root", "root:0", ":root"} {
		if got, err := LookupOwner(nil, spec); err != nil || got != (Owner{}) {
			t.Errorf("scratch, %q: %v, %v", spec, got, err)
		}
	}
	_, err := LookupOwner(nil, "www")
	wantError(t, err, ErrNoSuchUser)
}

func TestHostileUserFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		tree files
		want error
	}{
		{"a FIFO", files{"etc/passwd": "fifo"}, accounts.ErrNotRegular},
		{"a directory", files{"etc/passwd": "dir"}, nil},
		{"a link out", files{"etc/passwd": "link /../../../../../../etc/passwd"}, nil},
		{"a link to a process's root", files{"etc": "link /proc/self/root/etc"}, ErrNoSuchUser},
		{"a file in the way", files{"etc": "file "}, ErrNoSuchUser},
		{"a huge file", files{"etc/passwd": "file " + strings.Repeat("x:x:1:1::/:\n", 1<<20)}, nil},
		{"a huge line", files{"etc/passwd": "file " + strings.Repeat("x", 2<<20)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			plant(t, root, c.tree)
			_, err := LookupOwner(openRoot(t, root), "daemon")
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got error %v", err)
			}
		})
	}
}
