package doctor

import (
	"fmt"
	"strings"
)

const (
	// lowSpace and lowInodes are where a build may soon fail, noSpace and noInodes where even a small one does.
	lowSpace  = 1 << 30
	noSpace   = 16 << 20
	lowInodes = 10000
	noInodes  = 100
)

func storeChecks(f Facts) []Check {
	in, disk := inside(f), f.Disk
	opened := "opened"
	if !disk.Exists {
		opened = "not there yet, and can be made"
	}
	if disk.Instead != "" {
		opened += "; " + disk.Instead
	}
	checks := []Check{of("store", in.Store, StatusFail, fmt.Sprintf("%s (%s, driver %s) %s", disk.Root, disk.FileSystem,
		in.Driver, opened))}
	checks = append(checks, of("one-store", f.OtherStore, StatusWarn, "podman and buildah see the same images"))
	switch {
	case disk.Problem != "":
		return append(checks, Check{Name: "disk", Status: StatusWarn, Detail: disk.Problem,
			Fix: "choose a directory for the store with --root, or in storage.conf"})
	case disk.ReadOnly:
		return append(checks, Check{
			Name: "disk", Status: StatusFail, Detail: fmt.Sprintf("the file system of %s is mounted read-only", disk.Root),
			Fix: "remount it, or choose another directory with --root or graphroot in storage.conf",
		})
	}
	return append(checks, space(disk))
}

func space(d Disk) Check {
	c := Check{Name: "disk", Status: StatusOK, Detail: fmt.Sprintf("%s free in %s", amount(d.Free), d.Root)}
	sized, counted := d.Size > 0, d.Inodes > 0
	if !sized {
		c.Detail = d.Root + " has no limit of its own"
	}
	if counted {
		c.Detail += fmt.Sprintf(", and %d inodes", d.FreeInodes)
	}
	switch {
	case sized && d.Free < noSpace || counted && d.FreeInodes < noInodes:
		c.Status = StatusFail
	case sized && d.Free < lowSpace || counted && d.FreeInodes < lowInodes:
		c.Status = StatusWarn
	default:
		return c
	}
	c.Fix = "make room there (podman image prune, podman system prune), or choose another disk with --root or graphroot in storage.conf"
	return c
}

func amount(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// fuse matters where the kernel's own overlay doesn't work.
func fuse(f Facts) Check {
	const name, install = "fuse-overlayfs",
		"run as root: apt install fuse-overlayfs, or dnf install fuse-overlayfs, or apk add fuse-overlayfs"
	c := Check{Name: name, Status: StatusOK}
	problem, fix := f.Fuse.Device.Problem, f.Fuse.Device.Fix
	if problem == "" && f.Fuse.Program == "" {
		problem, fix = "fuse-overlayfs is not in PATH", install
	}
	switch {
	case problem == "":
		c.Detail = f.Fuse.Program + " and /dev/fuse are there"
	case inside(f).Overlay.OK():
		c.Detail = problem + "; not needed where the kernel's overlay works"
	default:
		c.Status, c.Detail, c.Fix = StatusWarn, problem, fix
	}
	return c
}

func networkHelpers(f Facts) Check {
	const name, builds = "network-helpers", "builds need none: cooper connects their steps itself"
	if len(f.Network) > 0 {
		return Check{Name: name, Status: StatusOK, Detail: strings.Join(f.Network, ", ") + "; " + builds}
	}
	return Check{
		Name: name, Status: StatusWarn, Detail: "neither pasta nor slirp4netns is in PATH: " + builds +
			", but podman run does",
		Fix: "run as root: apt install slirp4netns, or dnf install passt, or apk add passt",
	}
}

// files gives a check for each kind of file.
func files(f Facts) []Check {
	var checks []Check
	for _, name := range []string{"registries.conf", "policy.json", "auth.json"} {
		c := Check{Name: name, Status: StatusOK, Detail: "it and what belongs to it can be read, or there is none"}
		for _, p := range f.Files {
			if p.Name == name {
				// A build whose bases are in the store asks no registry.
				c.Status, c.Detail, c.Fix = StatusWarn, p.Problem+": images can't be pulled", "correct that file; man "+manual(name)
				break
			}
		}
		checks = append(checks, c)
	}
	return checks
}

func manual(name string) string {
	switch name {
	case "registries.conf":
		return "containers-registries.conf"
	case "policy.json":
		return "containers-policy.json"
	}
	return "containers-auth.json"
}

func apparmor(f Facts) Check {
	c := Check{Name: "apparmor", Status: StatusOK, Detail: "user namespaces are not kept to programs with a profile"}
	if f.Surroundings.AppArmor {
		c.Detail = "user namespaces are kept to programs with a profile, and cooper may use them"
		if !f.Bare.OK() && !f.Root {
			c.Status, c.Detail, c.Fix = StatusFail, "user namespaces are kept to programs with a profile, and cooper has none",
				f.Bare.Fix
		}
	}
	return c
}

func cgroups(f Facts) Check {
	const needs = "; steps of a build need none"
	c := Check{Name: "cgroups", Status: StatusOK}
	switch s := f.Surroundings; {
	case s.Cgroup == "v2" && s.CgroupWritable:
		c.Detail = "version 2, and this user may make groups"
	case s.Cgroup == "v2":
		c.Detail = "version 2, and this user may make no groups" + needs
	case s.Cgroup == "":
		c.Status, c.Detail = StatusWarn, "no cgroup file system is mounted"+needs
		c.Fix = "run as root: mount -t cgroup2 cgroup2 /sys/fs/cgroup"
	default:
		c.Status, c.Detail = StatusWarn, fmt.Sprintf("version 1 (%s)%s, but OCI runtimes may refuse it", s.Cgroup, needs)
		c.Fix = "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line"
	}
	return c
}

func container(f Facts) Check {
	s := f.Surroundings
	c := Check{Name: "container", Status: StatusOK, Detail: "this looks like no container"}
	if s.Container != "" {
		c.Detail = fmt.Sprintf("inside a container (%s)", s.Container)
	}
	if s.NoNewPrivileges && !f.Root && !f.Nests {
		c.Status, c.Detail = StatusWarn, c.Detail+", with no_new_privs: setuid programs such as newuidmap have no power"
		c.Fix = "start it without no-new-privileges (NoNewPrivileges=no in systemd, allowPrivilegeEscalation: true in Kubernetes)"
	}
	return c
}
