package doctor

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/userns/reexec"
)

// healthy are facts of a machine on which nothing is wrong.
func healthy(uid uint32) Facts {
	ok := Outcome{Tried: true}
	f := Facts{
		User: "alice", UID: uid, Root: uid == 0, Ranges: Ranges{Outcome: ok, UIDs: 65536, GIDs: 65536}, Bare: ok, Mapped: ok,
		Sockets: ok,
		Helpers: []reexec.Helper{{Name: "newuidmap", Path: "/bin/newuidmap", Privileged: true},
			{Name: "newgidmap", Path: "/bin/newgidmap", Privileged: true}},
		UIDMap: "0 1000 1\n1 100000 65536", GIDMap: "0 1000 1\n1 100000 65536",
		Inside: &Inside{
			Setgroups: ok, Overlay: ok, Volatile: ok, IDMap: ok, Proc: ok, Seccomp: ok, Network: ok, Store: ok, Step: ok,
			Driver: "overlay", Renames: true, IDMapOn: "ext4",
		},
		Surroundings: Surroundings{Cgroup: "v2", CgroupWritable: true, UserNamespaces: "15000"},
		Fuse:         Fuse{Device: ok, Program: "/usr/bin/fuse-overlayfs"}, Network: []string{"pasta"},
		Disk: Disk{Root: "/store", Exists: true, FileSystem: "ext4", Size: 200 << 30, Free: 100 << 30, Inodes: 1e6,
			FreeInodes: 9e5},
	}
	return f
}

func wrong(fix string) Outcome { return Outcome{Tried: true, Problem: "it is broken", Fix: fix} }

func TestEvaluateGivesEachCheckItsStatusAndFix(t *testing.T) {
	for _, test := range []struct {
		name, check string
		spoil       func(f *Facts)
		status      Status
		fix         string
		works       bool
	}{
		{"no user namespace", "user-namespace", func(f *Facts) {
			f.Bare, f.Mapped, f.Inside = wrong("sysctl"), Outcome{},
				nil
		}, StatusFail, "sysctl", false},
		{"what needs the namespace is skipped", "overlay", func(f *Facts) {
			f.Bare, f.Mapped, f.Inside = wrong("sysctl"),
				Outcome{}, nil
		}, StatusSkip, "", false},
		{"newuidmap missing", "newuidmap",
			func(f *Facts) { f.Helpers[0] = reexec.Helper{Name: "newuidmap", Fix: "apt install uidmap"} }, StatusFail,
			"apt install uidmap", false},
		{"newgidmap plain", "newgidmap", func(f *Facts) {
			f.Helpers[1] = reexec.Helper{Name: "newgidmap", Path: "/b/newgidmap", Fix: "chmod u+s /b/newgidmap"}
		}, StatusFail, "chmod u+s", false},
		{"no ranges", "subordinate-ids", func(f *Facts) { f.Ranges.Outcome = wrong("usermod") }, StatusFail, "usermod",
			false},
		{"short ranges", "subordinate-ids", func(f *Facts) { f.Ranges.GIDs, f.Ranges.Fix = 1000, "usermod --add-subgids" },
			StatusWarn, "--add-subgids", true},
		{"just enough with the user's own ID", "subordinate-ids", func(f *Facts) {
			f.Ranges.UIDs, f.Ranges.GIDs = 65535,
				65535
		}, StatusOK, "", true},
		{"map refused", "id-map", func(f *Facts) { f.Mapped = wrong("check the line") }, StatusFail, "check the line", false},
		{"no landlock", "abstract-sockets", func(f *Facts) { f.Sockets = wrong("lsm=") }, StatusWarn, "lsm=", true},
		{"setgroups denied", "setgroups", func(f *Facts) { f.Inside.Setgroups = wrong("newgidmap") }, StatusWarn, "newgidmap",
			true},
		{"no overlay", "overlay", func(f *Facts) { f.Inside.Overlay, f.Inside.Step = wrong("Linux 5.13"), wrong("") },
			StatusFail, "Linux 5.13", false},
		{"no overlay, another driver", "overlay", func(f *Facts) {
			f.Inside.Overlay, f.Inside.Driver, f.Inside.Renames = wrong("Linux 5.13"), "vfs", false
		}, StatusWarn, "Linux 5.13", true},
		{"no volatile", "overlay-volatile", func(f *Facts) { f.Inside.Volatile = wrong("Linux 5.10") }, StatusWarn,
			"Linux 5.10", true},
		{"no idmap for a user", "idmapped-mounts", func(f *Facts) { f.Inside.IDMap = wrong("") }, StatusOK, "", true},
		{"proc masked", "proc", func(f *Facts) { f.Inside.Proc = wrong("systempaths") }, StatusFail, "systempaths", false},
		{"no seccomp", "seccomp", func(f *Facts) { f.Inside.Seccomp = wrong("CONFIG_SECCOMP_FILTER") }, StatusFail,
			"CONFIG_SECCOMP_FILTER", false},
		{"store locked", "store", func(f *Facts) { f.Inside.Store, f.Inside.Step = wrong("--root"), Outcome{} }, StatusFail,
			"--root", false},
		{"step fails", "run-step", func(f *Facts) { f.Inside.Step = wrong("") }, StatusFail, "", false},
		{"disk nearly full", "disk", func(f *Facts) { f.Disk.Free = 500 << 20 }, StatusWarn, "prune", true},
		{"disk full", "disk", func(f *Facts) { f.Disk.Free = 1 << 20 }, StatusFail, "prune", false},
		{"few inodes", "disk", func(f *Facts) { f.Disk.FreeInodes = 5000 }, StatusWarn, "prune", true},
		{"no inodes", "disk", func(f *Facts) { f.Disk.FreeInodes = 3 }, StatusFail, "prune", false},
		{"btrfs has no count of inodes", "disk", func(f *Facts) { f.Disk.Inodes, f.Disk.FreeInodes = 0, 0 }, StatusOK, "",
			true},
		{"ramfs has no size", "disk", func(f *Facts) { f.Disk.Size, f.Disk.Free = 0, 0 }, StatusOK, "", true},
		{"read-only disk", "disk", func(f *Facts) { f.Disk.ReadOnly = true }, StatusFail, "--root", false},
		{"no place for a store", "disk", func(f *Facts) { f.Disk.Problem = "bad storage.conf" }, StatusWarn, "storage.conf",
			true},
		{"fuse missing and not needed", "fuse-overlayfs", func(f *Facts) { f.Fuse = Fuse{Device: wrong("modprobe fuse")} },
			StatusOK, "", true},
		{"fuse missing", "fuse-overlayfs", func(f *Facts) {
			f.Inside.Overlay, f.Fuse.Device = wrong(""),
				wrong("modprobe fuse")
		}, StatusWarn, "modprobe fuse", false},
		{"fuse-overlayfs missing", "fuse-overlayfs", func(f *Facts) { f.Inside.Overlay, f.Fuse.Program = wrong(""), "" },
			StatusWarn, "apt install fuse-overlayfs", false},
		{"no network namespaces", "private-network", func(f *Facts) { f.Inside.Network = wrong("modprobe veth") }, StatusFail,
			"modprobe veth", false},
		{"no network namespaces, and the host's network allowed", "private-network", func(f *Facts) {
			f.Inside.Network, f.NetworkOptional = wrong("modprobe veth"), true
		}, StatusWarn, "modprobe veth", true},
		{"no network helper", "network-helpers", func(f *Facts) { f.Network = nil }, StatusWarn, "apt install", true},
		{"bad registries.conf", "registries.conf", func(f *Facts) { f.Files = []FileProblem{{"registries.conf", "line 3"}} },
			StatusWarn, "containers-registries.conf", true},
		{"bad policy", "policy.json", func(f *Facts) { f.Files = []FileProblem{{"policy.json", "line 3"}} }, StatusWarn,
			"containers-policy.json", true},
		{"bad credentials", "auth.json", func(f *Facts) { f.Files = []FileProblem{{"auth.json", "line 3"}} }, StatusWarn,
			"containers-auth.json", true},
		{"AppArmor in the way", "apparmor", func(f *Facts) {
			f.Surroundings.AppArmor, f.Bare, f.Mapped, f.Inside = true, wrong("apparmor_parser"), Outcome{}, nil
		}, StatusFail, "apparmor_parser", false},
		{"AppArmor with a profile", "apparmor", func(f *Facts) { f.Surroundings.AppArmor = true }, StatusOK, "", true},
		{"cgroup v1", "cgroups", func(f *Facts) { f.Surroundings.Cgroup = "v1" }, StatusWarn, "unified_cgroup_hierarchy",
			true},
		{"no cgroups", "cgroups", func(f *Facts) { f.Surroundings.Cgroup = "" }, StatusWarn, "mount -t cgroup2", true},
		{"cgroup v2, not writable", "cgroups", func(f *Facts) { f.Surroundings.CgroupWritable = false }, StatusOK, "", true},
		{"container", "container", func(f *Facts) { f.Surroundings.Container = "docker" }, StatusOK, "", true},
		{"no_new_privs", "container", func(f *Facts) { f.Surroundings.NoNewPrivileges = true }, StatusWarn,
			"allowPrivilegeEscalation", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := healthy(1000)
			test.spoil(&f)
			r := Evaluate(f)
			c := r.find(t, test.check)
			if c.Status != test.status || !strings.Contains(c.Fix, test.fix) || (test.fix == "") != (c.Fix == "") {
				t.Errorf("%s is %+v, want %s and %q", test.check, c, test.status, test.fix)
			}
			if r.Works != test.works || !r.Works && (r.Mode != "" || r.Driver != "") {
				t.Errorf("works is %v, mode %q, driver %q: %s", r.Works, r.Mode, r.Driver, r.Summary)
			}
		})
	}
}

func (r Report) find(t *testing.T, name string) Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no check %s", name)
	return Check{}
}

func TestSummarySaysHowABuildRuns(t *testing.T) {
	for _, test := range []struct {
		name  string
		uid   uint32
		spoil func(f *Facts)
		want  string
		mode  string
	}{
		{"user", 1000, func(*Facts) {},
			"a build will run in a user namespace of alice's own IDs, because it is an ordinary user's; the driver is overlay, and layers are committed by a rename", "rootless"},
		{"vfs", 1000, func(f *Facts) { f.Inside.Driver, f.Inside.Renames = "vfs", false },
			"the driver is vfs, and layers are committed through the driver", "rootless"},
		{"root", 0, func(*Facts) {}, "a build will run as root, with RUN steps in a user namespace of subordinate IDs",
			"root"},
		{"root without ranges", 0, func(f *Facts) { f.Ranges.Outcome = wrong("usermod") },
			"because there are no subordinate IDs", "root-unmapped"},
		{"root, no idmap", 0, func(f *Facts) { f.Inside.IDMap = wrong("ext4") }, "because the store can't be ID-mapped",
			"root-unmapped"},
		{"root who may not mount", 0, func(f *Facts) {
			f.Root, f.Nests, f.Helpers, f.Surroundings.NoNewPrivileges = false, true, nil, true
		}, "below this one", "nests"},
		{"root of a namespace", 0, func(f *Facts) { f.Nested, f.Bare = true, wrong("sysctl") },
			"as root of the user namespace that it is started in", "nested"},
		{"broken", 1000, func(f *Facts) { f.Bare, f.Mapped, f.Inside = wrong("x"), Outcome{}, nil },
			"a build will not work: see user-namespace", ""},
		{"nothing known", 1000, func(f *Facts) { *f = Facts{UID: 1000} }, "a build will not work", ""},
	} {
		f := healthy(test.uid)
		test.spoil(&f)
		if r := Evaluate(f); !strings.Contains(r.Summary, test.want) || r.Mode != test.mode {
			t.Errorf("%s: mode %q, %s", test.name, r.Mode, r.Summary)
		}
	}
}

func TestReportIsOneLineACheckAndItsFix(t *testing.T) {
	f := healthy(1000)
	f.Ranges.Outcome = wrong("run as root: usermod <x> & more")
	r := Evaluate(f)
	var text, js bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteJSON(&js); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if last := lines[len(lines)-1]; last != r.Summary {
		t.Errorf("last line is %q", last)
	}
	if !strings.Contains(text.String(), "fix: run as root: usermod <x> & more\n") {
		t.Errorf("no fix in\n%s", &text)
	}
	var back map[string]any
	if err := json.Unmarshal(js.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"works", "mode", "driver", "commit", "summary", "checks"} {
		if _, ok := back[field]; !ok {
			t.Errorf("no %s in %s", field, &js)
		}
	}
}
