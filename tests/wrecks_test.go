package tests_test

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// onOverlay is a script that makes the site's "bin" a directory on which no overlay can be put, because it is one.
func (s *site) onOverlay() string {
	return fmt.Sprintf("(cd %s; rm -rf o; mkdir -p o/l o/u o/w; mount -t overlay -o lowerdir=$PWD/o/l,upperdir=$PWD/o/u,workdir=$PWD/o/w none %s; chmod 777 %[2]s)\n",
		s.path("tmp"), s.path("bin"))
}

// bind is a script that shows a file of the site in another's place.
func (s *site) bind(from, to string) string { return "mount --bind " + s.path(from) + " " + to + "\n" }

// ownEtc is a script that gives a copy of /etc, which programs may write. What others do to users meanwhile has locks
// and new files come and go there.
func (s *site) ownEtc() string {
	return fmt.Sprintf("rm -rf %[1]s; cp -a /etc %[1]s 2>/dev/null || :; rm -f %[1]s/*.lock; mount --bind %[1]s /etc\n",
		s.path("tmp/etc"))
}

// lines is a script that takes an owner's line from both files, and others.
func (s *site) lines(owner, ranges string, files ...string) string {
	script := s.ownEtc()
	for _, f := range files {
		script += fmt.Sprintf("sed -i '/^%s:/d' /etc/%s\n", owner, f)
		if ranges != "" {
			script += fmt.Sprintf("echo '%s:%s' >>/etc/%s\n", owner, ranges, f)
		}
	}
	return script
}

// ownHelper is a script that shows a copy of newuidmap or newgidmap, with a mode of its own, in its place.
func (s *site) ownHelper(name, mode string) string {
	return fmt.Sprintf("cp $(command -v %s) %[2]s; chmod %[3]s %[2]s; mount --bind %[2]s $(command -v %[1]s)\n", name,
		s.path("tmp/"+name), mode)
}

// ownSysctls is a script that shows settings of the kernel's that this kernel has not.
func (s *site) ownSysctls(settings string) string {
	return fmt.Sprintf(`rm -rf %[1]s; mkdir -m 755 %[1]s; cd %[1]s
for f in cap_last_cap overflowuid overflowgid ngroups_max; do cat /proc/sys/kernel/$f >$f; done
%[2]s
cd - >/dev/null; mount --bind %[1]s /proc/sys/kernel
`, s.path("tmp/kernel"), settings)
}

// noCgroups is a script that leaves no cgroup file system mounted.
const noCgroups = "umount -l /sys/fs/cgroup\nwhile umount -l /sys/fs/cgroup 2>/dev/null; do :; done\n"

// aChroot is a script that makes a root directory which is no mount point, and what enters it.
func (s *site) aChroot() (script string, enter []string) {
	root := s.path("tmp/root")
	return fmt.Sprintf("rm -rf %[1]s; mkdir %[1]s; for d in /*; do if [ -L $d ]; then cp -P $d %[1]s; elif [ -d $d ]; then mkdir %[1]s$d; mount --rbind $d %[1]s$d; fi; done\n", root),
		[]string{"chroot", root}
}

// prepareWrecks makes the files that wrecks need.
func (s *site) prepareWrecks(t *testing.T) {
	t.Helper()
	s.write(t, "empty", "")
	s.write(t, "bad", "{[")
	s.mkdir(t, "bin")
}

func noVolatile() []denial {
	return []denial{
		{Call: unix.SYS_FSCONFIG, Error: unix.EINVAL, Arg: 2, Text: "volatile"},
		{Call: unix.SYS_MOUNT, Error: unix.EINVAL, Arg: 4, Text: "volatile"},
	}
}

// noUserNamespaces denies their making. What a filter can't see, as the flags of clone3, engines have not there.
func noUserNamespaces(errno unix.Errno) []denial {
	return append(deny(unix.ENOSYS, unix.SYS_CLONE3), denial{Call: unix.SYS_CLONE, Error: errno, Bits: unix.CLONE_NEWUSER},
		denial{Call: unix.SYS_UNSHARE, Error: errno, Bits: unix.CLONE_NEWUSER})
}

// noPrctlFilter denies the older way to install a filter.
func noPrctlFilter() []denial {
	return []denial{{Call: unix.SYS_PRCTL, Error: unix.EPERM, Value: unix.PR_SET_SECCOMP}}
}

// wrecks are machines for each check of doctor, most of them an ordinary user's.
func (s *site) wrecks() []wreck {
	return slices.Concat(s.idWrecks(), s.namespaceWrecks(), s.filterWrecks(), s.storeWrecks(), s.otherWrecks(),
		s.rootWrecks())
}

// idWrecks are about subordinate IDs and their helpers.
func (s *site) idWrecks() []wreck {
	user, both := s.mode.User, []string{"subuid", "subgid"}
	none := s.lines(user, "", both...)
	return []wreck{
		{name: "no ranges", script: none, check: "subordinate-ids", status: "fail",
			want: []string{"usermod --add-subuids", user}, mend: 1},
		{name: "what one ID allows is tried", script: none, check: "overlay", status: "ok"},
		{name: "what one ID doesn't allow", script: none, check: "setgroups", status: "warn", want: []string{"newgidmap"}},
		{name: "no group ranges", script: s.lines(user, "", "subgid"), check: "subordinate-ids", status: "fail",
			want: []string{"usermod --add-subgids"}, mend: 1},
		{name: "short ranges", script: s.lines(user, "500000000:2000", both...), check: "subordinate-ids", status: "warn",
			want: []string{"2000", "usermod --add-subuids"}, works: true, mend: 1},
		{name: "ranges of different length", script: s.lines(user, "500000000:65536", "subuid") +
			fmt.Sprintf("echo %s:4294967000:290 >/etc/subgid\n", user),
			check: "subordinate-ids", status: "warn", want: []string{"290 group IDs"}, works: true},
		{name: "a range with the own ID", script: s.lines(user, fmt.Sprintf("%d:5", s.mode.UID), both...),
			check: "subordinate-ids", status: "fail",
			want: []string{"/etc/subuid:", "can't be mapped twice", "in place of that: " + user}},
		{name: "carriage returns", script: s.lines(user, "500000000:65536", both...) + "sed -i 's/$/\\r/' /etc/subuid\n",
			check: "subordinate-ids", status: "fail",
			want: []string{"/etc/subuid:", "ends with a carriage return", "a right line is " + user}},
		{name: "no newuidmap", script: s.bind("empty", "$(command -v newuidmap)"), check: "newuidmap", status: "fail",
			want: []string{"apt install uidmap"}},
		{name: "no newgidmap", script: s.bind("empty", "$(command -v newgidmap)"), check: "newgidmap", status: "fail",
			want: []string{"apt install uidmap"}},
		{name: "newuidmap without its bit", script: s.ownHelper("newuidmap", "755"), check: "newuidmap", status: "fail",
			want: []string{"chmod u+s"}, mend: 1},
		{name: "newuidmap without its bit, and a capability", script: s.ownHelper("newuidmap", "755"), check: "newuidmap",
			status: "fail",
			want:   []string{"setcap cap_setuid=ep"}, mend: 2},
		{name: "newgidmap without its bit", script: s.ownHelper("newgidmap", "755"), check: "newgidmap", status: "fail",
			want: []string{"chmod u+s"}, mend: 1},
		{name: "a map without newgidmap's bit", script: s.ownHelper("newgidmap", "755"), check: "id-map", status: "fail",
			want: []string{"setcap cap_setgid=ep"}, mend: 2},
		{name: "newuidmap of another owner", script: s.ownHelper("newuidmap", "755") +
			"chown 1:1 $(command -v newuidmap); chmod 4755 $(command -v newuidmap)\n",
			check: "newuidmap", status: "fail", want: []string{"chown root:root"}, mend: 1},
		{name: "newuidmap with nosuid",
			script: fmt.Sprintf("mkdir -p %[1]s; mount --bind /usr/bin %[1]s; mount -o remount,bind,nosuid %[1]s; mount --bind %[1]s/newuidmap $(command -v newuidmap)\n",
				s.path("tmp/usr")), check: "newuidmap", status: "fail", want: []string{"suid"}},
		{name: "no PATH", env: []string{"PATH=" + s.path("bin")}, check: "newuidmap", status: "fail",
			want: []string{"not in PATH", "apt install uidmap"}},
	}
}

// namespaceWrecks are about user namespaces and what must not be around them.
func (s *site) namespaceWrecks() []wreck {
	const noUser, noPID = "echo 0 >/proc/sys/user/max_user_namespaces", "echo 0 >/proc/sys/user/max_pid_namespaces"
	weak := []string{"setpriv", "--no-new-privs"}
	chroot, enter := s.aChroot()
	restricted := s.ownSysctls("echo 1 >apparmor_restrict_unprivileged_userns")
	return []wreck{
		{name: "no user namespaces", inside: noUser, check: "user-namespace", status: "fail",
			want: []string{"max_user_namespaces is 0"}, mend: 1},
		{name: "what needs one is skipped", inside: noUser, check: "store", status: "skip"},
		{name: "no pid namespaces", inside: noPID, check: "proc", status: "fail",
			want: []string{"sysctl -w user.max_pid_namespaces"}, mend: 1},
		{name: "no network namespaces", inside: "echo 0 >/proc/sys/user/max_net_namespaces", check: "private-network",
			status: "fail", want: []string{"max_net_namespaces", "--network=host", "cooper.toml"}},
		{name: "no network namespaces, and the host's network allowed", check: "private-network", status: "warn",
			inside: "echo 0 >/proc/sys/user/max_net_namespaces; echo network.default=\\\"host\\\" >cooper.toml",
			env:    []string{"COOPER_CONFIG=cooper.toml"}},
		{name: "no root", inside: noPID, check: "newuidmap", status: "fail", want: []string{"root's ID doesn't exist"}},
		{name: "IDs that are not in the container", inside: noPID, check: "id-map", status: "fail",
			want: []string{"do not exist in the container around this"}},
		{name: "no_new_privs", around: weak, check: "container", status: "warn",
			want: []string{"no_new_privs", "allowPrivilegeEscalation"}},
		{name: "a map with no_new_privs", around: weak, check: "id-map", status: "fail", want: []string{"no_new_privs"}},
		{name: "one ID with no_new_privs", around: weak, check: "proc", status: "ok"},
		{name: "proc masked", script: s.bind("empty", "/proc/uptime") + "mount -t tmpfs none /proc/fs\n", check: "proc",
			status: "fail",
			want:   []string{"systempaths=unconfined"}},
		{name: "chroot", script: chroot, before: enter, check: "user-namespace", status: "fail",
			want: []string{"chroot", "pivot_root"}},
		{name: "AppArmor", script: restricted, denials: appArmorRestriction(), check: "apparmor", status: "fail",
			want: []string{"has none", "apparmor_parser -r"}},
		{name: "namespaces with AppArmor", script: restricted, denials: appArmorRestriction(), check: "user-namespace",
			status: "fail",
			want:   []string{"AppArmor", "userns,", suite.cooper}},
		{name: "AppArmor with a profile", script: restricted, check: "apparmor", status: "ok",
			want: []string{"cooper may use them"}},
		{name: "Debian's switch", script: s.ownSysctls("echo 0 >unprivileged_userns_clone"),
			denials: noUserNamespaces(unix.EPERM),
			check:   "user-namespace", status: "fail", want: []string{"sysctl -w kernel.unprivileged_userns_clone=1"}},
	}
}

// filterWrecks are below filters of system calls.
func (s *site) filterWrecks() []wreck {
	const unconfined, who = "seccomp=unconfined", "a seccomp filter "
	all := []wreck{
		{name: "an engine's profile", denials: engineProfile(), check: "user-namespace", status: "fail",
			want: []string{who + "forbids", unconfined}},
		{name: "mount", denials: deny(unix.EPERM, unix.SYS_MOUNT), check: "user-namespace", status: "fail",
			want: []string{who + "forbids", "mounts in them"}},
		{name: "pivot_root", denials: deny(unix.EPERM, unix.SYS_PIVOT_ROOT), check: "run-step", status: "fail",
			want: []string{who + "denies pivot_root", unconfined}},
		{name: "clone3", denials: deny(unix.EPERM, unix.SYS_CLONE3), check: "run-step", status: "ok", works: true},
		{name: "prctl", denials: noPrctlFilter(), check: "seccomp", status: "ok", works: true},
		{name: "no volatile", denials: noVolatile(), check: "overlay-volatile", status: "warn",
			want: []string{"no option volatile", "Linux 5.10"}, works: true},
		{name: "no landlock", denials: deny(unix.ENOSYS, unix.SYS_LANDLOCK_CREATE_RULESET), check: "abstract-sockets",
			status: "warn",
			want:   []string{"function not implemented", "Linux 6.12", "--network=none"}, works: true},
		{name: "landlock switched off", denials: deny(unix.EOPNOTSUPP, unix.SYS_LANDLOCK_CREATE_RULESET),
			check: "abstract-sockets", status: "warn",
			want: []string{"lsm="}, works: true},
	}
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS, unix.EINVAL} {
		name := unix.ErrnoName(errno)
		all = append(all,
			wreck{name: "clone " + name, denials: noUserNamespaces(errno), check: "user-namespace", status: "fail",
				want: []string{who + "forbids", unconfined}},
			wreck{name: "seccomp " + name, denials: deny(errno, unix.SYS_SECCOMP), check: "seccomp", status: "fail",
				want: []string{who + "denies seccomp", unconfined}},
			wreck{name: "new mounts " + name, denials: newMountAPI(errno), check: "overlay", status: "fail",
				want: []string{who + "denies fsopen", "move_mount", unconfined}})
	}
	return all
}

// storeWrecks are about the store and its disk.
func (s *site) storeWrecks() []wreck {
	other := []string{"--root", s.path("bin/s")}
	vfs := append([]string{"--storage-driver", "vfs"}, other...)
	noFuse := fmt.Sprintf("rm -f %[1]s; mknod %[1]s c 10 229; chmod 600 %[1]s\n", s.path("tmp/fuse")) +
		s.bind("tmp/fuse", "/dev/fuse")
	tmpfs := "mount -t tmpfs -o mode=777,%s none " + s.path("bin") + "\n"
	return []wreck{
		{name: "locked store", args: []string{"--root", "/usr/cooper-e2e/store"}, check: "store", status: "fail",
			want: []string{"/usr", "--root"}},
		{name: "file in the store's place", args: []string{"--root", s.path("bad/store")}, check: "store",
			status: "fail", want: []string{s.path("bad") + " is there and is no directory", "--root"}},
		{name: "another driver", script: "export STORAGE_DRIVER=nonsense\n", check: "store", status: "fail",
			want: []string{"nonsense"}},
		{name: "read-only store", script: fmt.Sprintf(tmpfs, "size=1g") +
			fmt.Sprintf("mkdir -m 777 %[1]s/s; mount -o remount,ro %[1]s\n", s.path("bin")), args: other,
			check: "disk", status: "fail", want: []string{"read-only"}},
		{name: "full store", script: fmt.Sprintf(tmpfs, "size=1m") + "head -c 1048576 /dev/zero >" + s.path("bin/zero") +
			" || true", args: other,
			check: "disk", status: "fail", want: []string{"0 KiB free"}},
		{name: "no driver configured", script: s.bind("empty", s.storageConf()), check: "one-store", status: "warn",
			want: []string{"vfs", "[storage] in " + s.storageConf()}, works: true},
		{name: "no inodes", script: fmt.Sprintf(tmpfs, "nr_inodes=20"), args: other, check: "disk", status: "fail",
			want: []string{"inodes"}},
		{name: "store on an overlay", script: s.onOverlay(), args: vfs, check: "overlay", status: "warn",
			want: []string{"upperdir", "ext4"}, works: true},
		{name: "store on an overlay, no fuse", script: s.onOverlay() + s.bind("empty", "/dev/fuse"), args: vfs,
			check: "fuse-overlayfs", status: "warn",
			want: []string{"modprobe fuse", "--device /dev/fuse"}, works: true},
		{name: "store on an overlay, fuse for root alone", script: s.onOverlay() + noFuse, args: vfs, check: "fuse-overlayfs",
			status: "warn",
			want:   []string{"permission denied"}, works: true, mend: 1},
		{name: "no fuse where it isn't needed", script: noFuse, check: "fuse-overlayfs", status: "ok",
			want: []string{"not needed"}, works: true},
	}
}

// otherWrecks are about files, programs and control groups.
func (s *site) otherWrecks() []wreck {
	version1 := noCgroups +
		"mount -t tmpfs none /sys/fs/cgroup; mkdir /sys/fs/cgroup/one; mount -t cgroup -o none,name=cooper-e2e none /sys/fs/cgroup/one\n"
	return []wreck{
		{name: "credentials", args: []string{"--authfile", s.path("bad")}, check: "auth.json", status: "warn",
			want: []string{s.path("bad")}, works: true},
		{name: "credentials that aren't there", args: []string{"--authfile", s.path("none")}, check: "auth.json",
			status: "warn", want: []string{s.path("none")}, works: true},
		{name: "registries.conf", script: s.bind("bad", "/etc/containers/registries.conf"), check: "registries.conf",
			status: "warn",
			want:   []string{"/etc/containers/registries.conf"}, works: true},
		{name: "policy.json", script: s.bind("bad", "/etc/containers/policy.json"), check: "policy.json", status: "warn",
			want: []string{"policy.json"}, works: true},
		{name: "no program for networks", env: []string{"PATH=" + s.path("bin")}, check: "network-helpers", status: "warn",
			want: []string{"apt install"}},
		{name: "no cgroups", script: noCgroups, check: "cgroups", status: "warn", want: []string{"no cgroup file system"},
			works: true, mend: 1},
		{name: "cgroups of version 1", script: version1, check: "cgroups", status: "warn",
			want: []string{"(v1)", "systemd.unified_cgroup_hierarchy=1"}, works: true},
		{name: "cgroups of both versions",
			script: version1 + "mkdir /sys/fs/cgroup/two; mount -t cgroup2 none /sys/fs/cgroup/two\n", check: "cgroups",
			status: "warn",
			want:   []string{"(hybrid)"}, works: true},
	}
}

// rootWrecks are root's.
func (s *site) rootWrecks() []wreck {
	onOverlay := []string{"--root", s.path("bin/s"), "--storage-driver", "vfs"}
	nobody := s.lines("root", "", "subuid", "subgid") + "sed -i '/^containers:/d' /etc/subuid /etc/subgid\n"
	weak := []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"}
	all := []wreck{
		{name: "a line that is none", script: nobody + "echo root:x >>/etc/subuid\n", check: "subordinate-ids",
			status: "fail", want: []string{"/etc/subuid:", "is not NAME:START:COUNT"}},
		{name: "no ranges", script: nobody, check: "subordinate-ids", status: "warn", want: []string{"usermod --add-subuids"},
			works: true, mode: "root-unmapped", mend: 1},
		{name: "no map for steps", script: nobody, check: "id-map", status: "warn", want: []string{"usermod --add-subuids"},
			works: true, mode: "root-unmapped", mend: 1},
		{name: "store on an overlay", script: s.onOverlay(), args: onOverlay, check: "idmapped-mounts", status: "warn",
			want: []string{"ext4"}, works: true, mode: "root-unmapped"},
		{name: "no right to mount", around: weak, check: "user-namespace", status: "ok", works: true, mode: "nests"},
		{name: "a container", around: weak, denials: engineProfile(), check: "user-namespace", status: "fail",
			want: []string{"a seccomp filter forbids", "seccompProfile.type: Unconfined"}},
		{name: "no user namespace for steps", denials: noUserNamespaces(unix.EPERM), check: "user-namespace", status: "fail",
			want: []string{"seccomp=unconfined"}},
		{name: "no volatile", denials: noVolatile(), check: "overlay-volatile", status: "warn", works: true, mode: "root"},
	}
	for i := range all {
		all[i].root = true
	}
	return all
}
