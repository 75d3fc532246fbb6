package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/other"
)

// surroundings reads what the machine is from its files below root, which is "/" but in tests.
func surroundings(root string) Surroundings {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(text))
	}
	s := Surroundings{
		Container:       containerOf(root, read("proc/1/environ")),
		AppArmor:        read("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
		UserNamespaces:  read("proc/sys/user/max_user_namespaces"),
		NoNewPrivileges: contains(read("proc/self/status"), "NoNewPrivs", "1"),
	}
	s.Cgroup, s.CgroupWritable = cgroup(root, read("proc/self/mountinfo"), read("proc/self/cgroup"))
	return s
}

// containerOf names the container that this is in, going by what engines leave in one.
func containerOf(root, environ string) string {
	has := func(name string) bool { return exists(filepath.Join(root, name)) }
	switch {
	case has("var/run/secrets/kubernetes.io") || has("run/secrets/kubernetes.io"):
		return "kubernetes pod"
	case has("run/.containerenv"):
		return "podman"
	case has(".dockerenv"):
		return "docker"
	}
	for _, text := range strings.Split(environ, "\x00") {
		if name, ok := strings.CutPrefix(text, "container="); ok && name != "" {
			return name
		}
	}
	if text, err := os.ReadFile(filepath.Join(root, "run/systemd/container")); err == nil {
		return strings.TrimSpace(string(text))
	}
	return ""
}

// cgroup gives the hierarchy's version, and whether this process may make groups below its own.
func cgroup(root, mountinfo, own string) (version string, writable bool) {
	var unified string
	one, hybrid := false, false
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) == 0 {
			continue
		}
		switch kind[0] {
		case "cgroup":
			one = true
		case "cgroup2":
			if unified == "" {
				unified = fields[4]
			}
			hybrid = true
		}
	}
	switch {
	case one && hybrid:
		return "hybrid", false
	case one:
		return "v1", false
	case unified == "":
		return "", false
	}
	for line := range strings.Lines(own) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return "v2", unix.Access(filepath.Join(root, unified, group), unix.W_OK) == nil
		}
	}
	return "v2", false
}

// lookAtDisk looks at the file system that holds a store, or will.
func lookAtDisk(o store.Options) Disk {
	at, err := store.Locate(o)
	if err != nil {
		return Disk{Problem: outcome(err).Problem}
	}
	d := Disk{Root: at.Root, Instead: at.Instead}
	dir := nearest(at.Root)
	d.Exists = dir == at.Root
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		d.Problem = fmt.Sprintf("look at the file system of %s: %v", dir, err)
		return d
	}
	d.FileSystem = fileSystem(fs.Type)
	d.Size = fs.Blocks * uint64(fs.Bsize)
	d.Free, d.Inodes, d.FreeInodes = fs.Bavail*uint64(fs.Bsize), fs.Files, fs.Ffree
	d.ReadOnly = fs.Flags&unix.ST_RDONLY != 0
	return d
}

// otherStore looks for one that podman and buildah keep beside the user's.
func otherStore(ctx context.Context, o store.Options) Outcome {
	const ask = true
	found, _ := other.Find(ctx, o, ask)
	return Outcome{Tried: true, Problem: found.Problem, Fix: found.Fix}
}

// nearest is the path, or the nearest directory above it that exists.
func nearest(path string) string {
	for path != "/" && path != "." {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}

// fileSystem names the types that stores are usually on (linux/magic.h).
func fileSystem(magic int64) string {
	switch uint32(magic) {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case 0x2fc12fc1:
		return "zfs"
	}
	return fmt.Sprintf("file system %#x", uint32(magic))
}
