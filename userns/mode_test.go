package userns

import (
	"errors"
	"strings"
	"testing"
)

func TestModesAreReadAndWrittenBack(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "host": "host", "private": "private", "nomap": "nomap", "keep-id": "keep-id", "auto": "auto",
		"keep-id:uid=200,gid=210":               "keep-id:uid=200,gid=210",
		"keep-id:gid=0":                         "keep-id:gid=0",
		"auto:size=8192":                        "auto:size=8192",
		"auto:gidmapping=5:1,uidmapping=0:@9:2": "auto:uidmapping=0:@9:2,gidmapping=5:1:1",
		"ns:/proc/1/ns/user":                    "ns:/proc/1/ns/user",
	} {
		m, err := ParseMode(text)
		if err != nil || m.String() != want {
			t.Errorf("%q gives %q, %v", text, m, err)
		}
	}
}

func TestWrongModesAreRefusedWithOneSentence(t *testing.T) {
	for text, want := range map[string]string{
		"keepid":                         "must be host, private, keep-id[:uid=N,gid=N], nomap, auto[:size=N,uidmapping=C:F:L,gidmapping=C:F:L] or ns:PATH",
		":":                              "must be host, ",
		"HOST":                           "must be host, ",
		"host:1":                         "host takes no options",
		"nomap:":                         "nomap takes no options",
		"keep-id:":                       `"" must be uid=N or gid=N`,
		"keep-id:uid":                    `uid: "" is not an ID from 0 to 4294967294`,
		"keep-id:uid=4294967295":         `uid: "4294967295" is not an ID from 0 to 4294967294`,
		"keep-id:uid=-1":                 `uid: "-1" is not an ID`,
		"keep-id:uid=+1":                 `uid: "+1" is not an ID`,
		"keep-id:uid=1,uid=2":            "uid is there twice",
		"keep-id:user=1":                 `"user=1" must be uid=N or gid=N`,
		"auto:size=0":                    `size: "0" is not a number from 1 to 4294967294`,
		"auto:size=1,size=2":             "size is there twice",
		"auto:uidmapping=1":              "uidmapping: must be [+ug]CONTAINER:[@]FROM[:LENGTH]",
		"auto:gidmapping=+1:2:3":         `gidmapping: "+1" is not an ID`,
		"auto:maxsize=4":                 `"maxsize=4" must be size=N, uidmapping=C:F:L or gidmapping=C:F:L`,
		"ns":                             "ns takes the absolute path of a user namespace",
		"ns:":                            "ns takes the absolute path",
		"ns:../x":                        "ns takes the absolute path",
		"ns:/x\x00":                      "ns takes the absolute path",
		"container:abc":                  "must be host, ",
		"auto:uidmapping=0:0:0":          `uidmapping: "0" is not a length from 1 to 4294967294`,
		"auto:uidmapping=4294967294:0:2": "uidmapping: 2 IDs from 4294967294 on go beyond the highest ID 4294967294",
	} {
		m, err := ParseMode(text)
		if !errors.Is(err, ErrBadRequest) || !strings.HasPrefix(err.Error(), "--userns="+text+": "+want) {
			t.Errorf("%q gives %v, %v", text, m, err)
		}
	}
}

func TestMapFlagsAreReadAndWrittenBack(t *testing.T) {
	for text, want := range map[string]string{
		"0:1:2": "0:1:2", "5:6": "5:6:1", "+100000:@2000:1": "+100000:@2000:1", "u1:2:3": "u1:2:3", "g+1:@2": "+g1:@2:1",
		"gu+1:2":                "+ug1:2:1",
		"4294967294:4294967294": "4294967294:4294967294:1", "0:0:4294967294": "0:0:4294967294",
	} {
		f, err := ParseMapFlag(OptionUIDMap, text)
		if err != nil || f.String() != want {
			t.Errorf("%q gives %q, %v", text, f, err)
		}
	}
	for text, want := range map[string]string{
		"":                    "must be [+ug]CONTAINER:[@]FROM[:LENGTH]",
		"1":                   "must be ",
		"1:2:3:4":             "must be ",
		"x1:2":                `"x1" is not an ID from 0 to 4294967294`,
		"@1:2":                `"@1" is not an ID`,
		"1:-2":                `"-2" is not an ID`,
		"1:@@2":               `"@2" is not an ID`,
		"1:2:":                `"" is not a length from 1 to 4294967294`,
		"1:2:0":               `"0" is not a length`,
		"++1:2":               "the flag + is there twice",
		"ugu1:2":              "the flag u is there twice",
		"4294967295:0":        `"4294967295" is not an ID`,
		"2:0:4294967294":      "4294967294 IDs from 2 on go beyond the highest ID 4294967294",
		"0:4294967290:6":      "6 IDs from 4294967290 on go beyond",
		"99999999999999999:0": `"99999999999999999" is not an ID`,
	} {
		f, err := ParseMapFlag(OptionGIDMap, text)
		prefix := "--gidmap=" + text + ": "
		if text == "" {
			prefix = "--gidmap: "
		}
		if !errors.Is(err, ErrBadRequest) || !strings.HasPrefix(err.Error(), prefix+want) {
			t.Errorf("%q gives %v, %v", text, f, err)
		}
	}
}

// fuzzCallers are an ordinary user, with a host group of their own, and root.
func fuzzCallers(t testing.TB) []Caller {
	sub := SubIDs{UIDs: []SubIDRange{{100000, 65536}}, GIDs: []SubIDRange{{2000, 1}, {100000, 65536}}}
	outer, err := Default(1000, 1000, sub)
	if err != nil {
		t.Fatal(err)
	}
	return []Caller{{UID: 1000, GID: 1000, Outer: outer}, {Root: true, Sub: sub}, {Root: true}}
}

// FuzzResolve: whatever the mode and the flags, there is an error that is known or a map that the kernel takes.
func FuzzResolve(f *testing.F) {
	f.Add("", "0:0:65000 +100000:1:1 1:65001", "")
	f.Add("keep-id:uid=5,gid=70000", "", "")
	f.Add("auto:size=70000,uidmapping=0:0:1", "", "")
	f.Add("private", "", "+g100000:@2000")
	f.Fuzz(func(t *testing.T, mode, uidMaps, gidMaps string) {
		m, err := ParseMode(mode)
		if err != nil {
			if !errors.Is(err, ErrBadRequest) {
				t.Fatal(err)
			}
			return
		}
		again, err := ParseMode(m.String())
		if err != nil || again.String() != m.String() {
			t.Fatalf("%q is written %q, read %q, %v", mode, m, again, err)
		}
		uids, uerr := ParseMapFlags(OptionUIDMap, strings.Fields(uidMaps))
		gids, gerr := ParseMapFlags(OptionGIDMap, strings.Fields(gidMaps))
		if uerr != nil || gerr != nil {
			return
		}
		for _, c := range fuzzCallers(t) {
			r, err := Resolve(Request{Caller: c, Mode: m, UIDMaps: uids, GIDMaps: gids})
			if err == nil && r.Auto != nil {
				var second Mapping
				second, err = r.Auto.Allocate(AutoSize(0, 0), nil)
				r.Second = &second
			}
			if errors.Is(err, ErrBadRequest) || errors.Is(err, ErrTooFewSubIDs) || errors.Is(err, ErrBadMap) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.NSPath != "" {
				continue
			}
			composed, err := r.Composed()
			if errors.Is(err, ErrBadMap) {
				continue // more ranges than the kernel takes
			}
			if err != nil {
				t.Fatalf("%+v: %v", r, err)
			}
			for _, m := range []Map{composed.UIDs, composed.GIDs} {
				if _, err := NewMap(m...); err != nil || len(m) == 0 {
					t.Fatalf("map %v: %v", m, err)
				}
			}
		}
	})
}
