package userns

import (
	"errors"
	"strings"
	"testing"
)

// testCaller is alice, UID 1000, group 100, with the given group ranges besides 100000:65536, or root.
func testCaller(t *testing.T, root bool, extraGIDs ...SubIDRange) Caller {
	t.Helper()
	full := []SubIDRange{{100000, 65536}}
	sub := SubIDs{UIDs: full, GIDs: append(extraGIDs, full...)}
	if root {
		return Caller{Root: true, Sub: sub}
	}
	outer, err := Default(1000, 100, sub)
	if err != nil {
		t.Fatal(err)
	}
	return Caller{UID: 1000, GID: 100, Outer: outer}
}

// lines writes a map on one line.
func lines(m Map) string { return strings.ReplaceAll(m.String(), "\n", ", ") }

func request(t *testing.T, c Caller, mode, uidMaps, gidMaps string) (Request, error) {
	t.Helper()
	m, err := ParseMode(mode)
	if err != nil {
		return Request{}, err
	}
	uids, err := ParseMapFlags(OptionUIDMap, strings.Fields(uidMaps))
	if err != nil {
		return Request{}, err
	}
	gids, err := ParseMapFlags(OptionGIDMap, strings.Fields(gidMaps))
	return Request{Caller: c, Mode: m, UIDMaps: uids, GIDMaps: gids}, err
}

func TestModesGiveTheSecondMap(t *testing.T) {
	for _, test := range []struct {
		mode             string
		root             bool
		uids, gids       string // in intermediate IDs; "" is no second namespace
		hostUID, hostGID string // the same in host IDs
	}{
		{"", false, "", "", "0 1000 1, 1 100000 65536", "0 100 1, 1 100000 65536"},
		{"host", false, "", "", "0 1000 1, 1 100000 65536", "0 100 1, 1 100000 65536"},
		{"keep-id", false, "0 1 1000, 1000 0 1, 1001 1001 64536", "0 1 100, 100 0 1, 101 101 65436",
			"0 100000 1000, 1000 1000 1, 1001 101000 64536", "0 100000 100, 100 100 1, 101 100100 65436"},
		{"keep-id:uid=11", false, "0 1 11, 11 0 1, 12 12 65525", "0 1 100, 100 0 1, 101 101 65436",
			"0 100000 11, 11 1000 1, 12 100011 65525", "0 100000 100, 100 100 1, 101 100100 65436"},
		{"keep-id:uid=200,gid=210", false, "0 1 200, 200 0 1, 201 201 65336", "0 1 210, 210 0 1, 211 211 65326",
			"0 100000 200, 200 1000 1, 201 100200 65336", "0 100000 210, 210 100 1, 211 100210 65326"},
		{"keep-id:uid=0,gid=65536", false, "0 0 1, 1 1 65536", "0 1 65536, 65536 0 1",
			"0 1000 1, 1 100000 65536", "0 100000 65536, 65536 100 1"},
		{"keep-id:uid=4294967294,gid=70000", false, "0 1 65536, 4294967294 0 1", "0 1 65536, 70000 0 1",
			"0 100000 65536, 4294967294 1000 1", "0 100000 65536, 70000 100 1"},
		{"nomap", false, "0 1 65536", "0 1 65536", "0 100000 65536", "0 100000 65536"},
		{"", true, "0 100000 65536", "0 100000 65536", "0 100000 65536", "0 100000 65536"},
		{"private", true, "0 100000 65536", "0 100000 65536", "0 100000 65536", "0 100000 65536"},
		{"host", true, "", "", "0 0 4294967295", "0 0 4294967295"},
	} {
		name := test.mode
		if test.root {
			name = "root " + name
		}
		req, err := request(t, testCaller(t, test.root), test.mode, "", "")
		if err != nil {
			t.Fatal(err)
		}
		r, err := Resolve(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var uids, gids string
		if r.Second != nil {
			uids, gids = lines(r.Second.UIDs), lines(r.Second.GIDs)
		}
		composed, err := r.Composed()
		if err != nil || uids != test.uids || gids != test.gids || lines(composed.UIDs) != test.hostUID ||
			lines(composed.GIDs) != test.hostGID {
			t.Errorf("%s gives %q, %q, on the host %q, %q, %v", name, uids, gids, lines(composed.UIDs), lines(composed.GIDs),
				err)
		}
	}
}

// The cases with a name in podman-run(1) are the examples of its sections on --uidmap.
func TestMapFlagsGiveWhatPodmanDocuments(t *testing.T) {
	const all = "0 0 65537"
	group := []SubIDRange{{2000, 2}} // host groups 2000 and 2001 are intermediate IDs 1 and 2
	for _, test := range []struct {
		name             string
		uidMaps, gidMaps string
		extra            []SubIDRange
		uids, gids       string
	}{
		{"amount is one", "5:7", "", nil, "5 7 1", "5 7 1"},
		{"only one of the two", "1001:0:1 0:1:1", "", nil, "0 1 1, 1001 0 1", "0 1 1, 1001 0 1"},
		{"only the other", "", "0:0:1000", nil, "0 0 1000", "0 0 1000"},
		{"both", "0:0:10", "0:1:20", nil, "0 0 10", "0 1 20"},
		{"no subordinate IDs are needed", "33:0:1", "", nil, "33 0 1", "33 0 1"},
		{"the user is 1000", "1000:0:1 0:1:1000 1001:1001:64536", "", nil, "0 1 1000, 1000 0 1, 1001 1001 64536",
			"0 1 1000, 1000 0 1, 1001 1001 64536"},
		{"neighbours become one range", "0:0:1 1:1:10 11:12:1", "", nil, "0 0 11, 11 12 1", "0 0 11, 11 12 1"},
		{"gaps stay", "0:0:5 100:5:5", "", nil, "0 0 5, 100 5 5", "0 0 5, 100 5 5"},
		{"referencing a host ID", "0:0:1", "0:0:1 100000:@2000:1", group, "0 0 1", "0 0 1, 100000 1 1"},
		{"host IDs across ranges", "0:@1000:1 7:@165535", "0:@100:1", nil, "0 0 1, 7 65536 1", "0 0 1"},
		{"two host IDs", "0:0:1", "100000:@2000:2", group, "0 0 1", "100000 1 2"},
		{"extending previous mappings", "", "0:0:65000 +100000:1:1", nil, "0 0 1, 2 2 64998, 100000 1 1",
			"0 0 1, 2 2 64998, 100000 1 1"},
		{"filling the gap afterwards", "", "0:0:65000 +100000:1:1 1:65001:1", nil, "0 0 1, 1 65001 1, 2 2 64998, 100000 1 1",
			"0 0 1, 1 65001 1, 2 2 64998, 100000 1 1"},
		{"extending the default", "+100000:1:1", "", nil, "0 0 1, 1 2 65535, 100000 1 1", "0 0 1, 1 2 65535, 100000 1 1"},
		{"extending inside the default", "+1000:0:1", "", nil, "0 1 1000, 1000 0 1, 1001 1001 64536",
			"0 1 1000, 1000 0 1, 1001 1001 64536"},
		{"both flags extend", "+5:0 +5:1", "", nil, "0 0 1, 1 2 4, 5 1 1, 6 6 65531", "0 0 1, 1 2 4, 5 1 1, 6 6 65531"},
		{"only groups", "", "0:0:1000 g2000:2000:1", nil, "0 0 1000", "0 0 1000, 2000 2000 1"},
		{"only users", "u0:0:1000", "", nil, "0 0 1000", all},
		{"additional host group", "", "+g100000:@2000", []SubIDRange{{2000, 1}}, all, "0 0 1, 1 2 65536, 100000 1 1"},
		{"for groups from the other option", "0:0:10 g50:50", "0:0:20", nil, "0 0 10", "0 0 20, 50 50 1"},
		{"for both although both are there", "ug50:50", "0:0:20", nil, "50 50 1", "0 0 20, 50 50 1"},
	} {
		req, err := request(t, testCaller(t, false, test.extra...), "", test.uidMaps, test.gidMaps)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Resolve(req)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if lines(r.Second.UIDs) != test.uids || lines(r.Second.GIDs) != test.gids {
			t.Errorf("%s: maps are %q and %q", test.name, lines(r.Second.UIDs), lines(r.Second.GIDs))
		}
		if _, err := r.Composed(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestRootMapsHostIDs(t *testing.T) {
	for uidMaps, want := range map[string]string{
		"0:200000:5000": "0 200000 5000", "0:0:1 1:@5:3": "0 0 1, 1 5 3", "+5:0": "0 100000 5, 5 0 1, 6 100005 65531",
	} {
		req, err := request(t, testCaller(t, true), "private", uidMaps, "")
		if err != nil {
			t.Fatal(err)
		}
		r, err := Resolve(req)
		if err != nil || lines(r.Second.UIDs) != want || lines(r.Second.GIDs) != want {
			t.Errorf("%s gives %+v, %v", uidMaps, r.Second, err)
			continue
		}
		if m, err := r.Composed(); err != nil || lines(m.UIDs) != want {
			t.Errorf("%s gives on the host %q, %v", uidMaps, lines(m.UIDs), err)
		}
	}
}

func TestNamedRangesAreTheMap(t *testing.T) {
	own := SubIDs{[]SubIDRange{{100000, 10}, {100020, 5}}, []SubIDRange{{100000, 65536}}}
	r, err := Resolve(Request{Caller: testCaller(t, false), Named: &own})
	if err != nil || lines(r.Second.UIDs) != "0 1 10, 10 21 5" || lines(r.Second.GIDs) != "0 1 65536" {
		t.Errorf("an ordinary user has %+v, %v", r.Second, err)
	}
	r, err = Resolve(Request{Caller: testCaller(t, true), Named: &own})
	if err != nil || lines(r.Second.UIDs) != "0 100000 10, 10 100020 5" {
		t.Errorf("root has %+v, %v", r.Second, err)
	}
	bobs := SubIDs{[]SubIDRange{{100000, 10}}, []SubIDRange{{300000, 10}}}
	_, err = Resolve(Request{Caller: testCaller(t, false), Named: &bobs})
	if want := "--subgidname: gid 300000 is not in your own ranges, and an ordinary user can map no others"; !errors.Is(
		err, ErrBadRequest) || err.Error() != want {
		t.Errorf("a range of somebody else gives %v", err)
	}
}

func TestImpossibleRequestsAreRefusedWithOneSentence(t *testing.T) {
	many := strings.TrimSpace(strings.Repeat("0:0 ", maxRanges+1))
	for _, test := range []struct {
		name                   string
		root                   bool
		mode, uidMaps, gidMaps string
		want                   string
	}{
		{"namespace without a map", false, "private", "", "",
			"--userns=private: there is no map for this namespace: give it one, such as --uidmap 0:0:65537, or leave --userns out"},
		{"map without a namespace", false, "host", "0:0:1", "",
			"--userns=host: there is no namespace for the map of --uidmap and --gidmap: leave --userns out or make it private"},
		{"two ways to say the map", false, "keep-id", "0:0:1", "",
			"--userns=keep-id: excludes --uidmap and --gidmap: this mode makes the map itself"},
		{"keep-id as root", true, "keep-id:uid=5", "", "",
			"--userns=keep-id:uid=5: this mode is for ordinary users, and this is root: use host, private, auto or --uidmap"},
		{"nomap as root", true, "nomap", "", "", "--userns=nomap: this mode is for ordinary users"},
		{"container IDs overlap", false, "", "0:0:10 9:20", "",
			"--uidmap=9:20:1: container ID 9 is mapped already, by 0:0:10; a + in front takes it over"},
		{"outside IDs overlap", false, "", "", "10:10:10 0:5:6",
			"--gidmap=0:5:6: ID 10 outside is used already, by 10:10:10; a + in front takes it over"},
		{"overlap within an auto mode", false, "auto:uidmapping=0:1:5,uidmapping=4:9:1", "", "",
			"--userns=auto:uidmapping=0:1:5,uidmapping=4:9:1: uidmapping: container ID 4 is mapped already, by 0:1:5"},
		{"beyond the range", false, "", "0:0:65538", "",
			"--uidmap=0:0:65538: intermediate ID 65537 is not yours to map, you have 0-65536"},
		{"host ID of somebody else", false, "", "0:@0:1", "",
			"--uidmap=0:@0:1: host ID 0 is not yours to map, you have 1000, 100000-165535"},
		{"beyond the range in an auto mode", false, "auto:gidmapping=0:70000:1", "", "",
			"--userns=auto:gidmapping=0:70000:1: gidmapping: intermediate ID 70000 is not yours"},
		{"too many", false, "", many, "", "--uidmap: 341 ranges, the kernel takes 340"},
	} {
		req, err := request(t, testCaller(t, test.root), test.mode, test.uidMaps, test.gidMaps)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Resolve(req)
		if !errors.Is(err, ErrBadRequest) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: error is\n%v\nwant\n%s", test.name, err, test.want)
		}
	}
	named := SubIDs{[]SubIDRange{{100000, 1}}, []SubIDRange{{100000, 1}}}
	for mode, want := range map[string]string{"nomap": "--userns=nomap: excludes --subuidname and --subgidname",
		"host": "--userns=host: there is no namespace"} {
		req, err := request(t, testCaller(t, false), mode, "", "")
		if err != nil {
			t.Fatal(err)
		}
		req.Named = &named
		if _, err := Resolve(req); !errors.Is(err, ErrBadRequest) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s with names gives %v", mode, err)
		}
	}
}

func TestRootWithoutRangesHearsWhatToAdd(t *testing.T) {
	for mode, want := range map[string]string{
		"private": "--userns=private: there is nothing to map: root has no line in /etc/subuid and /etc/subgid; run as root: usermod",
		"auto":    "--userns=auto: there is nothing to map: root has no line",
	} {
		_, err := Resolve(Request{Caller: Caller{Root: true}, Mode: Mode{Name: ModeName(mode)}})
		if !errors.Is(err, ErrNoSubIDs) || !errors.Is(err, ErrBadRequest) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s gives %v", mode, err)
		}
	}
	if r, err := Resolve(Request{Caller: Caller{Root: true}}); err != nil || r.Second != nil {
		t.Errorf("no mode gives %+v, %v", r, err)
	}
	_, err := Resolve(Request{Caller: Caller{Root: true}, UIDMaps: []MapFlag{{Length: 1, Extend: true}}})
	if !errors.Is(err, ErrBadRequest) ||
		!strings.HasPrefix(err.Error(), "--uidmap: there is no default map for the rest") {
		t.Errorf("+ gives %v", err)
	}
}
