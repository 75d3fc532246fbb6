package reexec

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// procRoot is where proc is mounted.
const procRoot = "/proc"

// Diagnose says why a user namespace can't be made or used: a [MachineError] that
// carries cause, the error of clone(2) or of the first privileged call inside. It
// looks for the reason below proc, which is "/proc" except in tests.
func Diagnose(proc string, cause error) error {
	m := machine{proc}
	if !m.exists("self") {
		return m.problem(cause, "proc is not mounted on /proc", "run as root: mount -t proc proc /proc")
	}
	if !m.exists("self/ns/user") {
		return m.problem(cause, "the kernel has no user namespaces", "use a kernel with CONFIG_USER_NS=y")
	}
	for _, check := range []func(error) error{m.ids, m.limits, m.modules, m.policies, m.filter, m.surroundings} {
		if err := check(cause); err != nil {
			return err
		}
	}
	return m.problem(cause, fmt.Sprintf("the user namespace can't be made: %v", cause),
		"check with: unshare --user --map-root-user --mount true")
}

// machine answers questions about the running system from the files below proc.
type machine struct{ proc string }

func (m machine) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(m.proc, name))
	return err == nil
}

// read gives a file's text without the space around it, "" if the file can't be read.
func (m machine) read(name string) string {
	text, err := os.ReadFile(filepath.Join(m.proc, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (m machine) problem(cause error, problem, remedy string) error {
	return &MachineError{Problem: problem, Remedy: remedy, Err: cause}
}

// CheckIDs gives an error if the caller's IDs aren't mapped in the user namespace that it is in, as after unshare
// --user without a map. No line in a subordinate ID file would help then.
func CheckIDs() error { return machine{procRoot}.ids(nil) }

func (m machine) ids(cause error) error {
	own, err := userns.ReadMap(filepath.Join(m.proc, "self"), userns.KindUID)
	if err != nil {
		return nil //nolint:nilerr // a map that can't be read doesn't show that IDs are missing
	}
	uid := uint32(os.Geteuid())
	for _, r := range own {
		if uid >= r.Container && uint64(uid) < uint64(r.Container)+uint64(r.Length) {
			return nil
		}
	}
	return m.problem(cause, "this is a user namespace that has no place for your user ID in its map",
		"start cooper outside of it, or make one with a map: unshare --user --map-root-user, podman unshare")
}

// limits looks for a limit that is reached: user.max_*_namespaces, the depth of namespaces, the number of processes.
func (m machine) limits(cause error) error {
	for _, kind := range []struct{ file, what, enough string }{
		{"max_user_namespaces", "user namespaces", "15000"},
		{"max_mnt_namespaces", "mount namespaces", "15000"},
	} {
		if m.read("sys/user/"+kind.file) == "0" {
			return m.problem(cause,
				fmt.Sprintf("%s are switched off (user.%s is 0)", kind.what, kind.file),
				fmt.Sprintf("run as root: sysctl -w user.%s=%s", kind.file, kind.enough))
		}
	}
	switch {
	case errors.Is(cause, unix.ENOSPC) || errors.Is(cause, unix.EUSERS):
		return m.problem(cause,
			"no more user or mount namespaces are allowed here, or 32 user namespaces are nested already",
			"run as root, on the host too if this is a container: sysctl -w user.max_user_namespaces=15000 user.max_mnt_namespaces=15000")
	case errors.Is(cause, unix.EAGAIN):
		return m.problem(cause, "the user's limit on processes is reached", "raise it: ulimit -u")
	}
	return nil
}

// modules looks for a security module that confines the processes of a container. Such a module gives EACCES, the
// kernel itself EPERM.
func (m machine) modules(cause error) error {
	if !errors.Is(cause, unix.EACCES) {
		return nil
	}
	label := m.read("self/attr/current")
	profile, mode, _ := strings.Cut(label, " (")
	switch {
	case mode == "enforce)":
		return m.problem(cause,
			fmt.Sprintf("the AppArmor profile %s, which this runs with, forbids user namespaces or mounts", profile),
			"start the container around this with --security-opt apparmor=unconfined, "+
				"or in Kubernetes with securityContext.appArmorProfile.type: Unconfined")
	case strings.Contains(label, ":container_t:"):
		return m.problem(cause, "SELinux forbids user namespaces or mounts to containers of the type container_t",
			"start the container around this with --security-opt label=disable, or label=type:container_engine_t, "+
				"or in Kubernetes with securityContext.seLinuxOptions.type: container_engine_t")
	}
	return nil
}

// policies looks for a setting by which an administrator forbids user namespaces.
func (m machine) policies(cause error) error {
	if !errors.Is(cause, unix.EPERM) && !errors.Is(cause, unix.EACCES) {
		return nil
	}
	if m.read("sys/kernel/unprivileged_userns_clone") == "0" {
		return m.problem(cause,
			"user namespaces are switched off for ordinary users (kernel.unprivileged_userns_clone is 0)",
			"run as root: sysctl -w kernel.unprivileged_userns_clone=1")
	}
	if m.read("sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
		return m.problem(cause,
			"AppArmor lets only programs with a profile use user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
			"run as root: "+apparmorRemedy(m.program()))
	}
	return nil
}

// filter looks for a filter of system calls. A filter may give ENOSYS or EINVAL, which a kernel with user namespaces
// doesn't.
func (m machine) filter(cause error) error {
	if m.status("Seccomp") != "2" || !slices.ContainsFunc([]error{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EINVAL},
		func(e error) bool { return errors.Is(cause, e) }) {
		return nil
	}
	return m.problem(cause,
		"a seccomp filter forbids new user namespaces, or mounts in them, as the default profile of most container engines does",
		"start the container around this with --security-opt seccomp=unconfined, "+
			"or in Kubernetes with securityContext.seccompProfile.type: Unconfined")
}

// surroundings looks for a reason in the place where the process runs: a container, a chroot.
func (m machine) surroundings(cause error) error {
	if mounts := m.read("self/mountinfo"); mounts != "" && !hasRootMount(mounts) {
		return m.problem(cause,
			"the kernel allows no user namespace in a chroot whose root is not a mount point",
			"leave the chroot, or enter it with pivot_root, for example through unshare or systemd-nspawn")
	}
	return nil
}

// hasRootMount reports whether mountinfo (proc_pid_mountinfo(5)) lists the root
// directory. In a chroot it lists only what is mounted below it.
func hasRootMount(mountinfo string) bool {
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			return true
		}
	}
	return false
}

// status gives a field of /proc/self/status, "" if there is none.
func (m machine) status(field string) string {
	for line := range strings.Lines(m.read("self/status")) {
		if name, value, ok := strings.Cut(line, ":"); ok && name == field {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// program gives the path of the running program, for a profile that names it.
func (m machine) program() string {
	path, err := os.Readlink(filepath.Join(m.proc, "self/exe"))
	if err != nil {
		return "/usr/local/bin/cooper"
	}
	return path
}

func apparmorRemedy(program string) string {
	return fmt.Sprintf(`printf 'abi <abi/4.0>,\nprofile cooper "%s" flags=(unconfined) {\n  userns,\n}\n' `+
		`> /etc/apparmor.d/cooper && apparmor_parser -r /etc/apparmor.d/cooper`, program)
}

// diagnose gives the error that says why newuidmap or newgidmap has failed. proc is where procfs is mounted, path the
// helper's path and cause its failure.
func (h helper) diagnose(proc, path string, o Options, cause *helperError) error {
	m := machine{proc}
	if !isPrivileged(path) {
		return m.problem(cause, fmt.Sprintf("%s has neither its setuid bit nor the capability %s", path, h.capability),
			h.bitRemedy(path))
	}
	if m.status("NoNewPrivs") == "1" {
		return m.problem(cause, h.program+" can't get its privileges because no_new_privs is set",
			"start the container or service around this without no-new-privileges "+
				"(NoNewPrivileges=no, allowPrivilegeEscalation: true)")
	}
	if isNosuid(path) {
		return m.problem(cause, fmt.Sprintf("%s is on a file system that is mounted with nosuid", path),
			nosuidRemedy)
	}
	if strings.Contains(cause.said, "not allowed") {
		return m.problem(cause, fmt.Sprintf("%s does not allow the ID map that %s asks for (%s)", h.program, o.owner(),
			cause.said),
			fmt.Sprintf("check that %s has a line %s", h.subFile, wantedLines(o.owner(), h.ids)))
	}
	if err := h.stranger(m, o, cause); err != nil {
		return err
	}
	return unmappable(proc, o, cause)
}

// unmappable says why the kernel has refused a map.
func unmappable(proc string, o Options, cause error) error {
	m := machine{proc}
	for _, h := range helpers(o.Mapping) {
		outer, err := userns.ReadMap(filepath.Join(m.proc, "self"), h.kind)
		if err != nil {
			continue
		}
		for _, r := range h.ids {
			if !covers(outer, r) {
				return m.problem(cause,
					fmt.Sprintf("host IDs %d to %d do not exist in the container around this, whose %s is %q",
						r.Host, r.Host+(r.Length-1), h.file, outer),
					fmt.Sprintf("give %s a range in %s that lies within it, or start the container with more IDs", o.owner(),
						h.subFile))
			}
		}
	}
	return m.problem(cause, fmt.Sprintf("the ID map can't be written: %v", cause),
		"if this is a container, it lacks a capability: "+capsRemedy)
}

// covers reports whether every host ID of r exists in the namespace whose own map is outer.
func covers(outer userns.Map, r userns.Range) bool {
	next, end := uint64(r.Host), uint64(r.Host)+uint64(r.Length)
	for _, o := range outer { // sorted by container ID
		first, last := uint64(o.Container), uint64(o.Container)+uint64(o.Length)
		if first <= next && next < last {
			next = last
		}
	}
	return next >= end
}

// wantedLines gives the subordinate ID lines that a map needs. Container ID 0 alone
// is the caller's own ID, which needs none.
func wantedLines(owner userns.User, ids userns.Map) string {
	var lines []string
	for _, r := range ids {
		if r.Container != 0 || r.Length != 1 {
			lines = append(lines, fmt.Sprintf("%s:%d:%d", owner, r.Host, r.Length))
		}
	}
	return strings.Join(lines, " and ")
}

// Helper is one of the two programs that write an ID map for an ordinary user, as this machine has it.
type Helper struct {
	Name       string // newuidmap or newgidmap
	Path       string // absolute path; "" if it is not in PATH
	Privileged bool   // it has its setuid bit or file capabilities, and the file system isn't mounted nosuid
	Fix        string // the command to type or the setting to change; "" if nothing is wrong
}

// Helpers looks at newuidmap and newgidmap without running them.
func Helpers() []Helper {
	var all []Helper
	for _, h := range helpers(userns.Mapping{}) {
		found := Helper{Name: h.program}
		path, err := exec.LookPath(h.program)
		switch {
		case err != nil:
			found.Fix = installRemedy
		case !isPrivileged(path) && hasSetuid(path):
			found.Path, found.Fix = path, fmt.Sprintf("run as root: chown root:root %s && chmod u+s %[1]s; "+
				"in a user namespace in which root's ID doesn't exist, nothing helps but to start cooper outside of it", path)
		case !isPrivileged(path):
			found.Path, found.Fix = path, h.bitRemedy(path)
		case isNosuid(path):
			found.Path, found.Fix = path, nosuidRemedy
		default:
			found.Path, found.Privileged = path, true
		}
		all = append(all, found)
	}
	return all
}

const (
	installRemedy = "install it as root: apt install uidmap, or dnf install shadow-utils, " +
		"or apk add shadow-uidmap, or pacman -S shadow"
	nosuidRemedy = "install it on one that is not, or remount that one with suid"
)

func (h helper) bitRemedy(path string) string {
	return fmt.Sprintf("run as root: chmod u+s %s, or setcap %s=ep %[1]s", path, h.capability)
}

// isPrivileged reports whether a program is setuid root or has file capabilities.
func isPrivileged(path string) bool {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return true // it can't be known, so that isn't reported as the reason
	}
	if st.Mode&unix.S_ISUID != 0 && st.Uid == 0 {
		return true
	}
	n, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil && n > 0
}

// hasSetuid reports whether a program has the bit, whoever owns it.
func hasSetuid(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_ISUID != 0
}

func isNosuid(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_NOSUID != 0
}
