package userns

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var alice = User{Name: "alice", ID: 1000}

func TestParseSubIDsFindsTheOwnersLines(t *testing.T) {
	for _, test := range []struct {
		name, text string
		owner      User
		want       []SubIDRange
	}{
		{"by name", "bob:100000:65536\nalice:165536:65536\n", alice, []SubIDRange{{165536, 65536}}},
		{"by number", "1000:165536:65536", alice, []SubIDRange{{165536, 65536}}},
		{"several lines, both ways", "alice:1:2\nbob:3:4\n1000:5:6\nalice:7:8\n", alice,
			[]SubIDRange{{1, 2}, {5, 6}, {7, 8}}},
		{"comments, blanks, others' carriage returns", "# alice:1:2\r\n\n  \r\n\tbob:3:4\r\nalice:3:4\n bob:1:2\n", alice,
			[]SubIDRange{{3, 4}}},
		{"range of nothing", "alice:1:0\n", alice, nil},
		{"nobody", "", alice, nil},
		{"prefix of a name", "alicea:1:2\nalic:1:2\n10000:1:2\n", alice, nil},
		{"owner without a name", "alice:1:2\n1000:5:6\n", User{ID: 1000}, []SubIDRange{{5, 6}}},
		{"root is not the empty number", "root:1:2\n0:3:4\n", User{Name: "root"}, []SubIDRange{{1, 2}, {3, 4}}},
		{"a number is the owner's only as it is usually written", "01000:1:2\n+1000:1:2\n1000:3:4\n", alice,
			[]SubIDRange{{3, 4}}},
		{"highest ID", "alice:4294967294:1\nalice:0:4294967295", alice, []SubIDRange{{4294967294, 1}, {0, 4294967295}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseSubIDs(strings.NewReader(test.text), test.owner)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("ranges are %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestParseSubIDsNamesTheLineThatIsGarbage(t *testing.T) {
	for _, line := range []string{
		"alice", "alice:1", ":1:2", "alice:x:2", "alice:1:x", "alice:-1:2", "alice:1:2:3", "alice: 1:2",
		"alice:4294967295:1", "alice:4294967296:1", "alice:1:4294967295", "bob:1", "\x00",
	} {
		_, err := parseSubIDs(strings.NewReader("# one\nbob:1:2\n"+line+"\nalice:5:6\n"), alice)
		if !errors.Is(err, ErrBadSubIDs) || !strings.HasPrefix(err.Error(), "line 3: ") {
			t.Errorf("%q gives %v", line, err)
		}
	}
	if _, err := parseSubIDs(strings.NewReader("a:1:2\n"+strings.Repeat("x", 1<<20)), alice); err == nil ||
		!strings.Contains(err.Error(), "line 2") {
		t.Errorf("a line without end gives %v", err)
	}
}

func FuzzParseSubIDs(f *testing.F) {
	f.Add([]byte("alice:100000:65536\n"))
	f.Add([]byte("# c\n1000:1:2\r\n\nbob:4294967294:1"))
	f.Add([]byte("alice:0:4294967295\nalice:0:4294967295\nalice:5:1\n"))
	f.Add([]byte("::\nalice:1:2:3"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseSubIDs(bytes.NewReader(text), alice)
		if err != nil {
			if got != nil || !strings.Contains(err.Error(), "line ") {
				t.Fatalf("%v with error %v", got, err)
			}
			return
		}
		for _, r := range got {
			if r.Count == 0 || r.end() > uint64(MaxID)+1 {
				t.Fatalf("range %v can't be mapped", r)
			}
		}
		m, err := FromSubIDs(SubIDs{got, got})
		switch {
		case len(got) == 0:
			if !errors.Is(err, ErrNoSubIDs) {
				t.Fatalf("no ranges give %v", err)
			}
		case len(got) <= maxRanges && err != nil:
			t.Fatalf("ranges %v give %v", got, err)
		case err == nil:
			for _, r := range got {
				c, err := m.UIDs.ToContainer(r.Start)
				if err != nil {
					t.Fatal(err)
				}
				if h, err := m.UIDs.ToHost(c); err != nil || h != r.Start {
					t.Fatalf("%d -> %d -> %d, %v", r.Start, c, h, err)
				}
			}
		}
	})
}

// etc makes a Finder for files of these texts.
func etc(t *testing.T, subuid, subgid, nsswitch string) Finder {
	t.Helper()
	dir := t.TempDir()
	f := Finder{
		SubUID: filepath.Join(dir, "subuid"), SubGID: filepath.Join(dir, "subgid"),
		NSSwitch:  filepath.Join(dir, "nsswitch.conf"),
		Getsubids: filepath.Join(dir, "getsubids"),
	}
	for path, text := range map[string]string{f.SubUID: subuid, f.SubGID: subgid, f.NSSwitch: nsswitch} {
		if text == "absent" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// withGetsubids puts a program in place that knows alice, and bob's users alone.
func withGetsubids(t *testing.T, f Finder) Finder {
	t.Helper()
	script := `#!/bin/sh
case "$*" in
alice) echo "0: alice 100000 65536"; echo "1: alice 300000 10" ;;
"-g alice") echo "0: alice 200000 65536" ;;
bob) echo "0: bob 1 2" ;;
mallory) echo "rubbish" ;;
*) echo "Error fetching ranges" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(f.Getsubids, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFindLooksWhereNSSwitchSays(t *testing.T) {
	const inFile = "alice:500000:5\n"
	files := SubIDs{[]SubIDRange{{500000, 5}}, []SubIDRange{{500000, 5}}}
	asked := SubIDs{[]SubIDRange{{100000, 65536}, {300000, 10}}, []SubIDRange{{200000, 65536}}}
	for _, test := range []struct {
		name, nsswitch string
		want           SubIDs
	}{
		{"no nsswitch.conf", "absent", files},
		{"no line", "passwd: files sss\n", files},
		{"files", "subid: files\n", files},
		{"files first", "subid:\tfiles sss\n", files},
		{"empty line", "subid:\n", files},
		{"commented out", "# subid: sss\n", files},
		{"another source", "subid: sss\n", asked},
		{"with a comment", "  subid:sss # from the directory\n", asked},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := withGetsubids(t, etc(t, inFile, inFile, test.nsswitch))
			got, err := f.Find(context.Background(), alice)
			if err != nil || !slices.Equal(got.UIDs, test.want.UIDs) || !slices.Equal(got.GIDs, test.want.GIDs) {
				t.Errorf("found %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestFindSaysWhatIsMissingAndWhatToType(t *testing.T) {
	const full = "bob:100000:65536\n"
	for _, test := range []struct {
		name                     string
		subuid, subgid, nsswitch string
		owner                    User
		want                     string // SUBUID and SUBGID stand for the paths
		kind                     error
	}{
		{"neither", "", "", "", alice,
			"alice has no line in SUBUID and SUBGID; run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 alice", ErrNoSubIDs},
		{"no files at all", "absent", "absent", "absent", alice,
			"alice has no line in SUBUID and SUBGID; run as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 alice", ErrNoSubIDs},
		{"others come first", full, "bob:200000:100\n", "", alice,
			"alice has no line in SUBUID and SUBGID; run as root: usermod --add-subuids 165536-231071 --add-subgids 200100-265635 alice", ErrNoSubIDs},
		{"groups alone", "alice:100000:65536\n", full, "", alice,
			"alice has no line in SUBGID; run as root: usermod --add-subgids 165536-231071 alice", ErrNoSubIDs},
		{"user without a name", "", "", "", User{ID: 1000},
			"1000 has no line in SUBUID and SUBGID; run as root: echo 1000:100000:65536 >> SUBUID; echo 1000:100000:65536 >> SUBGID", ErrNoSubIDs},
		{"garbage", full + "alice;1;2\n", full, "", alice,
			`SUBUID:2: "alice;1;2" is not NAME:START:COUNT; a right line is alice:100000:65536`, ErrBadSubIDs},
		{"source that knows nobody", "", "", "subid: sss\n", User{"carol", 5},
			`carol has no subordinate IDs in the source "sss" of nsswitch.conf; have 65536 user and group IDs assigned to carol there`, ErrNoSubIDs},
		{"source that knows no groups", "", "", "subid: sss\n", User{"bob", 6},
			`bob has no subordinate IDs in the source "sss" of nsswitch.conf; have 65536 user and group IDs assigned to bob there`, ErrNoSubIDs},
		{"source that answers rubbish", "", "", "subid: sss\n", User{"mallory", 7},
			`find subordinate IDs of mallory: read answer of getsubids: "rubbish" is not INDEX: NAME START COUNT: not a valid subordinate ID list`, ErrBadSubIDs},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := withGetsubids(t, etc(t, test.subuid, test.subgid, test.nsswitch))
			_, err := f.Find(context.Background(), test.owner)
			want := strings.NewReplacer("SUBUID", f.SubUID, "SUBGID", f.SubGID).Replace(test.want)
			if !errors.Is(err, test.kind) || err.Error() != want {
				t.Errorf("error is\n%v\nwant\n%s", err, want)
			}
		})
	}
	t.Run("getsubids", func(t *testing.T) {
		_, err := etc(t, "", "", "subid: sss\n").Find(context.Background(), alice)
		if !errors.Is(err, ErrNoGetsubids) || !strings.Contains(err.Error(), "apt install uidmap") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestCheckNamesAllIDsThatDoNotFitAtOnce(t *testing.T) {
	for _, test := range []struct {
		name, subuid, subgid, nsswitch string
		need                           IDs
		want                           string // "" is no error
	}{
		{"everything fits", "alice:100000:65536\n", "alice:100000:65536\n", "", IDs{[]uint32{0, 65534}, []uint32{65536}}, ""},
		{"user IDs", "alice:100000:1000\nbob:200000:65536\n", "alice:100000:65536\n", "",
			IDs{[]uint32{65534, 0, 1001, 65534}, []uint32{42}},
			"alice:100000:1000 in SUBUID is too short: the image needs user IDs 1001, 65534; " +
				"run as root: usermod --add-subuids 265536-330069 alice"},
		{"both, several lines", "alice:100000:10\nalice:300000:10\n", "alice:100000:5\n", "",
			IDs{[]uint32{21}, []uint32{6, 7}},
			"alice:100000:10 alice:300000:10 in SUBUID are too short: the image needs user IDs 21, " +
				"alice:100000:5 in SUBGID is too short: the image needs group IDs 6, 7; " +
				"run as root: usermod --add-subuids 300010-300010 --add-subgids 100005-100006 alice"},
		{"no room for so many", "alice:100000:10\n", "alice:100000:10\n", "", IDs{[]uint32{4294967294}, nil},
			"alice:100000:10 in SUBUID is too short: the image needs user IDs 4294967294; " +
				"no free range is that long: use a base image with lower IDs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := etc(t, test.subuid, test.subgid, test.nsswitch)
			sub, err := f.Find(context.Background(), alice)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Default(1000, 1000, sub)
			if err != nil {
				t.Fatal(err)
			}
			err = f.Check(context.Background(), alice, m, test.need)
			if test.want == "" {
				if err != nil {
					t.Errorf("error is %v", err)
				}
				return
			}
			want := strings.NewReplacer("SUBUID", f.SubUID, "SUBGID", f.SubGID).Replace(test.want)
			var re *RangeError
			if !errors.As(err, &re) || !errors.Is(err, ErrTooFewSubIDs) || !errors.Is(err, ErrUnmapped) || err.Error() != want {
				t.Errorf("error is\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestCheckPointsToTheSourceThatHasTheRanges(t *testing.T) {
	f := withGetsubids(t, etc(t, "", "", "subid: sss\n"))
	m := Mapping{UIDs: mustMap(t, Range{0, 1000, 1}), GIDs: mustMap(t, Range{0, 1000, 1})}
	err := f.Check(context.Background(), alice, m, IDs{UIDs: []uint32{7}})
	want := `alice:100000:65536 alice:300000:10 are too short: the image needs user IDs 7; ` +
		`have more IDs assigned to alice in the source "sss" of nsswitch.conf`
	if err == nil || err.Error() != want {
		t.Errorf("error is\n%v\nwant\n%s", err, want)
	}
}

// The granted range, added to the file, must make the image fit.
func TestProposedGrantIsEnough(t *testing.T) {
	f := etc(t, "alice:100000:10\n", "alice:100000:10\n", "")
	ctx := context.Background()
	mapping := func() Mapping {
		sub, err := f.Find(ctx, alice)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Default(1000, 1000, sub)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	need := IDs{UIDs: []uint32{65534}}
	var re *RangeError
	if err := f.Check(ctx, alice, mapping(), need); !errors.As(err, &re) {
		t.Fatal(err)
	}
	line := "alice:100000:10\n" + User{Name: "alice"}.String() + ":" +
		strings.ReplaceAll((Range{re.UIDs.Range.Start, re.UIDs.Range.Count, 1}).String(), " ", ":")
	if err := os.WriteFile(f.SubUID, []byte(strings.TrimSuffix(line, ":1")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Check(ctx, alice, mapping(), need); err != nil {
		t.Errorf("still %v", err)
	}
	if got := mapping().UIDs.Highest(); got != 65534 {
		t.Errorf("highest ID is %d", got)
	}
}
