package doctor

import (
	"fmt"
	"strings"
)

// usualRange is how many subordinate IDs images are made for.
const usualRange = 65536

// Evaluate says what facts mean for a build. It is pure.
func Evaluate(f Facts) Report {
	r := Report{Checks: []Check{userNamespace(f)}}
	if !f.Root && !f.Nests {
		for _, h := range f.Helpers {
			r.Checks = append(r.Checks, helperCheck(h.Name, h.Path, h.Fix))
		}
	}
	r.Checks = append(r.Checks, ranges(f), mapped(f))
	r.Checks = append(r.Checks, kernelChecks(f)...)
	r.Checks = append(r.Checks, storeChecks(f)...)
	r.Checks = append(r.Checks, step(f), sockets(f))
	r.Checks = append(r.Checks, fuse(f), networkHelpers(f))
	r.Checks = append(r.Checks, files(f)...)
	r.Checks = append(r.Checks, apparmor(f), cgroups(f), container(f))
	r.conclude(f)
	return r
}

// of makes a check of an outcome: bad is its status if it did not go well.
func of(name string, o Outcome, bad Status, good string) Check {
	switch {
	case !o.Tried:
		return Check{Name: name, Status: StatusSkip, Detail: "not tried: " + orElse(o.Problem, "something above has failed")}
	case o.Problem == "":
		return Check{Name: name, Status: StatusOK, Detail: good}
	}
	return Check{Name: name, Status: bad, Detail: o.Problem, Fix: o.Fix}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func userNamespace(f Facts) Check {
	bad := StatusFail
	if f.Nested {
		bad = StatusWarn // the one that there is will do
	}
	return of("user-namespace", f.Bare, bad, "one can be made, and mounts in it")
}

func helperCheck(name, path, fix string) Check {
	switch {
	case path == "":
		return Check{Name: name, Status: StatusFail, Detail: name + " is not in PATH", Fix: fix}
	case fix != "":
		return Check{Name: name, Status: StatusFail,
			Detail: path + " has no privileges: neither a setuid bit nor a capability that counts", Fix: fix}
	}
	return Check{Name: name, Status: StatusOK, Detail: path + " has its privileges"}
}

func ranges(f Facts) Check {
	const name = "subordinate-ids"
	if !f.Ranges.OK() {
		bad := StatusFail
		if f.Root && !f.Ranges.Broken {
			bad = StatusWarn
		}
		return of(name, f.Ranges.Outcome, bad, "")
	}
	detail := fmt.Sprintf("%d user IDs, %d group IDs", f.Ranges.UIDs, f.Ranges.GIDs)
	last := min(f.Ranges.UIDs, f.Ranges.GIDs)
	if (f.Root || f.Nests) && last > 0 {
		last-- // an ordinary user's own ID comes on top, as container ID 0
	}
	if last < usualRange-1 {
		return Check{
			Name: name, Status: StatusWarn, Detail: fmt.Sprintf("%s: images with owners above %d can't be built on", detail,
				last),
			Fix: orElse(f.Ranges.Fix, "have 65536 IDs in /etc/subuid and /etc/subgid"),
		}
	}
	return Check{Name: name, Status: StatusOK, Detail: detail}
}

func mapped(f Facts) Check {
	const name = "id-map"
	good := fmt.Sprintf("a step's uid_map is %q", strings.ReplaceAll(f.UIDMap, "\n", ", "))
	if !f.Root {
		return of(name, f.Mapped, StatusFail, good)
	}
	switch {
	case f.Nested:
		return Check{Name: name, Status: StatusOK, Detail: good}
	case !f.Ranges.OK():
		return Check{Name: name, Status: StatusWarn,
			Detail: "RUN steps get no user namespace of their own: their root is the machine's", Fix: f.Ranges.Fix}
	case f.Bare.OK():
		return Check{Name: name, Status: StatusOK, Detail: good}
	}
	return of(name, Outcome{}, StatusFail, "")
}

// kernelChecks are about what is done inside the namespace.
func kernelChecks(f Facts) []Check {
	in := inside(f)
	return []Check{
		of("setgroups", in.Setgroups, StatusWarn, "supplementary groups can be set"),
		of("overlay", in.Overlay, overlayStatus(f), "the kernel's overlay works on the store's file system"),
		of("overlay-volatile", in.Volatile, StatusWarn, "steps don't wait for the disk"),
		idmap(f),
		of("proc", in.Proc, StatusFail, "proc can be mounted in a new pid namespace"),
		of("private-network", in.Network, networkStatus(f),
			"steps can have a network of their own, which cooper itself connects"),
		of("seccomp", in.Seccomp, StatusFail, "system call filters can be installed"),
	}
}

// networkStatus: builds work where no steps have a private network, or may have another.
func networkStatus(f Facts) Status {
	if f.NetworkOptional {
		return StatusWarn
	}
	return StatusFail
}

func inside(f Facts) Inside {
	if f.Inside == nil {
		return Inside{}
	}
	return *f.Inside
}

// overlayStatus: with another driver a build works without it, but RUN needs it for all bases of more than the driver's
// own mount.
func overlayStatus(f Facts) Status {
	if in := inside(f); in.Step.OK() && !in.Renames {
		return StatusWarn
	}
	return StatusFail
}

func idmap(f Facts) Check {
	const name = "idmapped-mounts"
	in := inside(f)
	switch {
	case in.IDMap.OK():
		return Check{Name: name, Status: StatusOK, Detail: fmt.Sprintf("%s can show its files with other owners", in.IDMapOn)}
	case !in.IDMap.Tried:
		return of(name, in.IDMap, StatusWarn, "")
	case !f.Root || f.Nested:
		return Check{Name: name, Status: StatusOK,
			Detail: fmt.Sprintf("not for ordinary users on %s, and a build in the usual map needs none", in.IDMapOn)}
	}
	return of(name, in.IDMap, StatusWarn, "")
}

func step(f Facts) Check {
	return of("run-step", inside(f).Step, StatusFail, "a step ran, with all its namespaces and mounts")
}

func sockets(f Facts) Check {
	o := f.Sockets
	if o.Problem != "" {
		o.Problem += ": steps reach the abstract Unix sockets of this machine, such as a desktop's"
	}
	return of("abstract-sockets", o, StatusWarn, "steps can't reach those of this machine")
}

// conclude says whether and how a build will work.
func (r *Report) conclude(f Facts) {
	var failed []string
	for _, c := range r.Checks {
		if c.Status == StatusFail {
			failed = append(failed, c.Name)
		}
	}
	in := inside(f)
	if r.Works = len(failed) == 0 && in.Step.OK() && in.Store.OK(); !r.Works {
		r.Summary = "a build will not work: see " + orElse(strings.Join(failed, ", "), "what was skipped")
		return
	}
	r.Driver, r.Commit = in.Driver, "driver"
	how := "layers are committed through the driver, because it is no overlay of the kernel alone"
	if in.Renames {
		r.Commit, how = "rename", "layers are committed by a rename"
	}
	var where string
	switch {
	case f.Nests:
		r.Mode, where = "nests",
			"as root of a user namespace below this one, with the same IDs, because root of this one has no right to mount"
	case !f.Root:
		r.Mode, where = "rootless", fmt.Sprintf("in a user namespace of %s's own IDs, because it is an ordinary user's",
			orElse(f.User, fmt.Sprint(f.UID)))
	case f.Nested:
		r.Mode, where = "nested", "as root of the user namespace that it is started in"
	case f.Ranges.OK() && in.IDMap.OK():
		r.Mode, where = "root", "as root, with RUN steps in a user namespace of subordinate IDs"
	case f.Ranges.OK():
		r.Mode, where = "root-unmapped", "as root, with RUN steps in no user namespace, because the store can't be ID-mapped"
	default:
		r.Mode, where = "root-unmapped",
			"as root, with RUN steps in no user namespace, because there are no subordinate IDs for them"
	}
	r.Summary = fmt.Sprintf("a build will run %s; the driver is %s, and %s", where, r.Driver, how)
}
