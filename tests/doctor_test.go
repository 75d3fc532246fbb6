package tests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// A finding is what cooper doctor says about one thing.
type finding struct{ Name, Status, Detail, Fix string }

type diagnosis struct {
	Works                         bool
	Mode, Driver, Commit, Summary string
	Checks                        []finding
}

// diagnose reads the JSON of a doctor that must have said so much and no more.
func (r result) diagnose(t *testing.T) diagnosis {
	t.Helper()
	var d diagnosis
	if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
		t.Fatalf("%v: status %d\n%s%s", err, r.Code, tail(r.Stdout), tail(r.Stderr))
	}
	if want := map[bool]int{true: 0, false: 125}[d.Works]; r.Code != want || r.Stderr != "" {
		t.Errorf("works is %v and the status %d\n%s", d.Works, r.Code, tail(r.Stderr))
	}
	if !strings.HasPrefix(d.Summary, "a build will ") {
		t.Errorf("the summary is %q", d.Summary)
	}
	for _, c := range d.Checks {
		if (c.Status == "warn" || c.Status == "fail" && c.Name != "run-step") && c.Fix == "" || c.Detail == "" || strings.Contains(c.Detail+c.Fix, "\n") {
			t.Errorf("a poor check: %+v", c)
		}
	}
	return d
}

func (d diagnosis) has(t *testing.T, name, status string, texts ...string) {
	t.Helper()
	for _, c := range d.Checks {
		if c.Name != name {
			continue
		}
		if c.Status != status {
			t.Errorf("%s is %+v, want %s", name, c, status)
		}
		for _, text := range texts {
			if !strings.Contains(c.Detail+" fix: "+c.Fix, text) {
				t.Errorf("%s says nothing of %q: %+v", name, text, c)
			}
		}
		return
	}
	t.Errorf("there is no check %s", name)
}

func TestDoctorOnThisMachine(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		d := s.cooper(t, "doctor", "--json").diagnose(t)
		for _, name := range []string{"user-namespace", "id-map", "setgroups", "overlay", "overlay-volatile", "proc", "seccomp", "store", "run-step"} {
			d.has(t, name, "ok")
		}
		mode := map[bool]string{true: "root", false: "rootless"}[m.root()]
		if !d.Works || d.Mode != mode || d.Driver != "overlay" || d.Commit != "rename" {
			t.Errorf("%+v", d)
		}
		if _, err := os.Lstat(s.store()); err == nil {
			t.Error("a store was made")
		}
		s.checkNoLeftovers(t)

		// What it says comes true, with the store that there is then, too.
		if err := s.makeBusybox(); err != nil {
			t.Fatal(err)
		}
		s.write(t, "busybox/Run", busyboxfile+"RUN true\n")
		s.build(t, "-f", "busybox/Run", "busybox")
		s.cooper(t, "doctor", "--json").diagnose(t).has(t, "store", "ok", "opened")
		s.checkNoLeftovers(t)

		v := s.cooper(t, "doctor", "--json", "--storage-driver", "vfs", "--root", s.path("vfs")).diagnose(t)
		if !v.Works || v.Driver != "vfs" || v.Commit != "driver" {
			t.Errorf("%+v", v)
		}
		text := s.cooper(t, "doctor")
		if lines := strings.Split(strings.TrimSpace(text.Stdout), "\n"); text.Code != 0 || lines[len(lines)-1] != d.Summary {
			t.Errorf("status %d\n%s%s", text.Code, text.Stdout, text.Stderr)
		}
		s.cooper(t, "doctor", "me").fails(t, 2, "no arguments")
	})
}

// onOverlay is a script that makes the site's "bin" a directory on which no overlay can be put, because it is one.
func (s *site) onOverlay() string {
	return fmt.Sprintf("cd %s; rm -rf o; mkdir -p o/l o/u o/w; mount -t overlay -o lowerdir=$PWD/o/l,upperdir=$PWD/o/u,workdir=$PWD/o/w none %s; chmod 777 %[2]s; cd ..",
		s.path("tmp"), s.path("bin"))
}

// TestDoctorFindsWhatIsMissing takes from an ordinary user's machine one thing at a time.
func TestDoctorFindsWhatIsMissing(t *testing.T) {
	needRoot(t)
	s := newSite(t, ordinary(t))
	s.write(t, "empty", "")
	s.write(t, "short", fmt.Sprintf("%s:500000000:2000\n", s.mode.User))
	s.write(t, "bad", "{[")
	s.mkdir(t, "bin")
	if err := os.Mkdir(s.path("locked"), 0o555); err != nil {
		t.Fatal(err)
	}
	bind := func(from, to string) string { return "mount --bind " + s.path(from) + " " + to + "; " }
	subids := func(from string) string { return bind(from, "/etc/subuid") + bind(from, "/etc/subgid") }
	onOverlay := s.onOverlay()
	helper := "$(command -v newuidmap)"
	for _, c := range []struct {
		name, script  string
		args          []string
		check, status string
		want          []string
		works         bool
	}{
		{"no ranges", subids("empty"), nil, "subordinate-ids", "fail", []string{"usermod --add-subuids", s.mode.User}, false},
		{"what one ID allows is tried", subids("empty"), nil, "overlay", "ok", nil, false},
		{"what one ID doesn't allow", subids("empty"), nil, "setgroups", "warn", []string{"newgidmap"}, false},
		{"no group ranges", bind("empty", "/etc/subgid"), nil, "subordinate-ids", "fail", []string{"usermod --add-subgids"}, false},
		{"short ranges", subids("short"), nil, "subordinate-ids", "warn", []string{"2000", "usermod --add-subuids"}, true},
		{"no newuidmap", bind("empty", helper), nil, "newuidmap", "fail", []string{"apt install uidmap"}, false},
		{"newuidmap without its bit", fmt.Sprintf("cp %s %[2]s/plain; chmod 755 %[2]s/plain; mount --bind %[2]s/plain %[1]s", helper, s.path("tmp")),
			nil, "newuidmap", "fail", []string{"chmod u+s"}, false},
		{"newuidmap with nosuid", "mkdir " + s.path("tmp/usr") + "; mount --bind /usr/bin " + s.path("tmp/usr") + "; mount -o remount,bind,nosuid " + s.path("tmp/usr") +
			"; mount --bind " + s.path("tmp/usr/newuidmap") + " " + helper, nil, "newuidmap", "fail", []string{"suid"}, false},
		{"ranges of another", "printf '%s:500000000:65536\\n' " + s.mode.User + " >" + s.path("tmp/uid") + "; chmod 644 " + s.path("tmp/uid") +
			"; printf '%s:4294967000:290\\n' " + s.mode.User + " >" + s.path("tmp/gid") + "; mount --bind " + s.path("tmp/uid") + " /etc/subuid; mount --bind " + s.path("tmp/gid") + " /etc/subgid",
			nil, "subordinate-ids", "warn", []string{"290 group IDs"}, true},
		{"no fuse device", bind("empty", "/dev/fuse") + "chmod 0 " + s.path("empty"), nil, "fuse-overlayfs", "ok", []string{"not needed"}, true},
		{"locked store", "", []string{"--root", s.path("locked/store")}, "store", "fail", []string{s.path("locked"), "--root"}, false},
		{"file in the store's place", "", []string{"--root", s.path("bad/store")}, "store", "ok", nil, true},
		{"read-only store", "mount -t tmpfs none " + s.path("bin") + "; mkdir -m 777 " + s.path("bin/s") + "; mount -o remount,ro " + s.path("bin"),
			[]string{"--root", s.path("bin/s")}, "disk", "fail", []string{"read-only"}, false},
		{"full store", "mount -t tmpfs -o size=1m,mode=777 none " + s.path("bin") + "; head -c 1048576 /dev/zero >" + s.path("bin/zero") + " || true",
			[]string{"--root", s.path("bin/s")}, "disk", "fail", []string{"0 KiB free"}, false},
		{"no inodes", "mount -t tmpfs -o nr_inodes=20,mode=777 none " + s.path("bin"), []string{"--root", s.path("bin/s")}, "disk", "fail", []string{"inodes"}, false},
		{"store on an overlay", onOverlay, []string{"--root", s.path("bin/s"), "--storage-driver", "vfs"}, "overlay", "warn", []string{"upperdir", "ext4"}, true},
		{"store on an overlay, no fuse", onOverlay + "; " + bind("empty", "/dev/fuse"), []string{"--root", s.path("bin/s"), "--storage-driver", "vfs"},
			"fuse-overlayfs", "warn", []string{"modprobe fuse", "--device /dev/fuse"}, true},
		{"another driver", "", []string{"--storage-driver", "nonsense"}, "store", "fail", []string{"nonsense"}, false},
		{"credentials", "", []string{"--authfile", s.path("bad")}, "auth.json", "warn", []string{s.path("bad")}, true},
		{"credentials that aren't there", "", []string{"--authfile", s.path("none")}, "auth.json", "warn", []string{s.path("none")}, true},
		{"registries.conf", bind("bad", "/etc/containers/registries.conf"), nil, "registries.conf", "warn", []string{"/etc/containers/registries.conf"}, true},
		{"policy.json", bind("bad", "/etc/containers/policy.json"), nil, "policy.json", "warn", []string{"policy.json"}, true},
		{"proc masked", bind("empty", "/proc/uptime") + "mount -t tmpfs none /proc/fs", nil, "proc", "fail", []string{"systempaths=unconfined"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.Chmod(s.path("empty"), 0o644); err != nil {
				t.Fatal(err)
			}
			d := s.inOtherMachine(t, c.script, append([]string{"doctor", "--json"}, c.args...)...).diagnose(t)
			d.has(t, c.check, c.status, c.want...)
			if d.Works != c.works {
				t.Errorf("works is %v: %s", d.Works, d.Summary)
			}
		})
	}
	s.checkNoLeftovers(t)
}

// TestDoctorWithoutNamespaces runs where the kernel gives no user namespace, and where setuid programs have no power.
func TestDoctorWithoutNamespaces(t *testing.T) {
	s := newSite(t, ordinary(t))
	none := runCommand(t, s.command("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
		`echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"`, "sh", suite.cooper, "doctor", "--json")).diagnose(t)
	none.has(t, "user-namespace", "fail", "max_user_namespaces is 0", "sysctl -w user.max_user_namespaces")
	none.has(t, "overlay", "skip")
	none.has(t, "store", "skip")
	noPID := runCommand(t, s.command("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
		`echo 0 >/proc/sys/user/max_pid_namespaces; exec "$@"`, "sh", suite.cooper, "doctor", "--json")).diagnose(t)
	noPID.has(t, "proc", "fail", "sysctl -w user.max_pid_namespaces")
	noPID.has(t, "newuidmap", "fail", "root's ID doesn't exist")
	noPID.has(t, "id-map", "fail", "do not exist in the container around this")
	weak := runCommand(t, s.command("setpriv", "--no-new-privs", suite.cooper, "doctor", "--json")).diagnose(t)
	weak.has(t, "container", "warn", "no_new_privs", "allowPrivilegeEscalation")
	weak.has(t, "id-map", "fail", "no_new_privs")
	weak.has(t, "proc", "ok")
	for _, d := range []diagnosis{none, weak} {
		if d.Works {
			t.Error(d.Summary)
		}
	}
	bare := s.command(suite.cooper, "doctor", "--json")
	bare.Env = append(bare.Env, "PATH="+s.path("bin"))
	d := runCommand(t, bare).diagnose(t)
	d.has(t, "newuidmap", "fail", "not in PATH", "apt install uidmap")
	d.has(t, "network-helpers", "warn", "apt install")
	s.checkNoLeftovers(t)
}

// TestDoctorAsRoot looks at what only root's builds need.
func TestDoctorAsRoot(t *testing.T) {
	needRoot(t)
	s := newSite(t, suite.modes[0])
	s.write(t, "nobody", "nobody-here:600000000:65536\n")
	d := s.inOtherMachine(t, "mount --bind "+s.path("nobody")+" /etc/subuid; mount --bind "+s.path("nobody")+" /etc/subgid", "doctor", "--json").diagnose(t)
	d.has(t, "subordinate-ids", "warn", "usermod --add-subuids")
	if !d.Works || d.Mode != "root-unmapped" {
		t.Errorf("%+v", d)
	}
	s.mkdir(t, "bin")
	d = s.inOtherMachine(t, s.onOverlay(), "doctor", "--json", "--root", s.path("bin/s"), "--storage-driver", "vfs").diagnose(t)
	d.has(t, "idmapped-mounts", "warn", "ext4")
	if !d.Works || d.Mode != "root-unmapped" {
		t.Errorf("%+v", d)
	}
	// Root of a container without the right to mount.
	r := runCommand(t, s.command("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", suite.cooper, "doctor", "--json"))
	r.Stderr = "" // containers/storage has its say, too
	weak := r.diagnose(t)
	weak.has(t, "overlay", "fail", "--privileged")
	if weak.Works {
		t.Error(weak.Summary)
	}
	s.checkNoLeftovers(t)
}
