package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ownLeaf is the group of this program's own processes, in a group that has steps below it: the kernel lets no group
// that hands on controllers have processes itself.
const ownLeaf = "cooper-itself"

// makeUnified makes a group of version 2 with the settings. It tries, in this order: a parent that was asked for; the
// caller's own group; a scope that systemd makes for an ordinary user; the group above the caller's.
func (m Maker) makeUnified(g *Group, h hierarchy, need []setting, name string) error {
	names := controllers(need)
	if parent := g.limits.Parent; parent != "" && !(IsSlice(parent) && m.Scope != nil) {
		return g.makeBelow(h, parentOf(parent, h.own), names, name, need)
	}
	if g.limits.Parent == "" {
		own, err := m.useOwn(h, names)
		if err == nil {
			return g.makeAt(own, name, need)
		}
		if m.Scope == nil {
			above := filepath.Dir(h.own)
			if aboveErr := handOn(h.dir(above), names); aboveErr != nil {
				return errors.Join(err, aboveErr)
			}
			return g.makeAt(h.dir(above), name, need)
		}
	}
	if err := m.Scope(g.limits.Parent); err != nil {
		return err
	}
	t, err := look(m.Proc)
	if err != nil {
		return err
	}
	own, err := m.useOwn(*t.unified, names)
	if err != nil {
		return err
	}
	return g.makeAt(own, name, need)
}

// makeBelow makes the group below a parent that is made, too.
func (g *Group) makeBelow(h hierarchy, parent string, names []string, name string, need []setting) error {
	dir := h.mount
	for part := range strings.SplitSeq(strings.Trim(parent, "/"), "/") {
		if err := handOn(dir, names); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		if err := g.makeParent(dir); err != nil {
			return err
		}
	}
	if err := handOn(dir, names); err != nil {
		return err
	}
	return g.makeAt(dir, name, need)
}

// makeAt makes the group in the directory of one that hands on its controllers.
func (g *Group) makeAt(parent, name string, need []setting) error {
	dir := filepath.Join(parent, name)
	if err := makeDir(dir); err != nil {
		return err
	}
	if err := apply(dir, need); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	g.places = []place{{dir: dir, v2: true}}
	return nil
}

// useOwn has the caller's group hand on controllers, and gives its directory. Unless it is the machine's top one, the
// processes in it must all be of this program: they move to a group below it.
func (m Maker) useOwn(h hierarchy, names []string) (dir string, err error) {
	dir = h.dir(h.own)
	if filepath.Base(dir) == ownLeaf {
		dir = filepath.Dir(dir)
	}
	if !isTop(dir) {
		if err := m.moveOwn(dir); err != nil {
			return "", err
		}
	}
	return dir, handOn(dir, names)
}

// isTop says that a group is the machine's top one, which may have processes and hand on controllers.
func isTop(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "cgroup.type"))
	return errors.Is(err, unix.ENOENT)
}

// moveOwn moves the processes in a group to one below it, if all are of this program.
func (m Maker) moveOwn(dir string) error {
	pids := words(filepath.Join(dir, "cgroup.procs"))
	if len(pids) == 0 {
		return nil // they are in the leaf already
	}
	for _, pid := range pids {
		if !m.isOurs(pid) {
			return fmt.Errorf("control group %s: there are processes of others in it", dir)
		}
	}
	leaf := filepath.Join(dir, ownLeaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	for _, pid := range pids {
		if err := write(leaf, "cgroup.procs", pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("move to the control group %s: %w", leaf, err)
		}
	}
	return nil
}

// isOurs says that a process executes this program.
func (m Maker) isOurs(pid string) bool {
	if n, err := strconv.Atoi(pid); err == nil && n == os.Getpid() {
		return true
	}
	own, err := os.Stat(filepath.Join(m.Proc, "self/exe"))
	other, otherErr := os.Stat(filepath.Join(m.Proc, pid, "exe"))
	return err == nil && otherErr == nil && os.SameFile(own, other)
}

// handOn has a group give the controllers to the groups below it.
func handOn(dir string, names []string) error {
	on := words(filepath.Join(dir, "cgroup.subtree_control"))
	have := words(filepath.Join(dir, "cgroup.controllers"))
	for _, name := range names {
		switch {
		case slices.Contains(on, name):
		case !slices.Contains(have, name):
			return fmt.Errorf("control group %s: it has no controller %s", dir, name)
		default:
			if err := write(dir, "cgroup.subtree_control", "+"+name); err != nil {
				return fmt.Errorf("control group %s: hand on the controller %s: %w", dir, name, err)
			}
		}
	}
	return nil
}
