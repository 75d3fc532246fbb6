package accounts

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func rootWith(t testing.TB, passwd, group string) *os.File {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"etc/passwd": passwd, "etc/group": group} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func TestMembershipsAreEachThereOnce(t *testing.T) {
	root := rootWith(t, "",
		"a:x:7:bob, alice\nb:x:8:bob\nc:x:7:alice\nd:x:-1:alice\n:x:9:alice\ne:x:3:alice,alice\nf:x:2:alice\n")
	for limit, want := range map[int][]uint32{10: {7, 3, 2}, 2: {7, 3}} {
		if got, err := Memberships(root, "alice", limit); err != nil || !slices.Equal(got, want) {
			t.Errorf("limit %d: %v %v, want %v", limit, got, err, want)
		}
	}
	if got, err := Memberships(nil, "alice", 10); err != nil || got != nil {
		t.Errorf("no root: %v %v", got, err)
	}
}

func TestParseIDTakesWhatAProcessCanHave(t *testing.T) {
	for text, want := range map[string]bool{"0": true, "4294967294": true, "4294967295": false, "-1": false, "": false,
		"1:": false, "0x1": false, "+1": false} {
		if _, ok := ParseID(text); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}

// Whatever the files hold, what is found is what was asked for.
func FuzzAccounts(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", "root:x:0:root\n")
	f.Add("\n#\n:::::\nroot\nroot:x:1\n\x00", ":::,\nroot:x:4294967295:,root,")
	f.Fuzz(func(t *testing.T, passwd, group string) {
		root := rootWith(t, passwd, group)
		u, found, err := FindUser(root, func(u User) bool { return u.Name == "root" || u.UID == 7 })
		if found && (err != nil || u.Name != "root" && u.UID != 7) {
			t.Errorf("user %+v %v", u, err)
		}
		if g, found, err := FindGroup(root, "root"); found && (err != nil || g.Name != "root") {
			t.Errorf("group %+v %v", g, err)
		}
		if ids, err := Memberships(root, "root", 3); err != nil && ids != nil || len(ids) > 3 {
			t.Errorf("memberships %v %v", ids, err)
		}
		if id, err := HighestID(root, 1000); err != nil || id > 1000 {
			t.Errorf("highest %d %v", id, err)
		}
	})
}
