package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/network"
	"github.com/cooperbuild/cooper/userns"
)

// insideOptions are for a look from where a build runs.
type insideOptions struct {
	store store.Options
	// steps is the mapping of RUN steps, nil if they stay in this namespace.
	steps *userns.Mapping
	// sample is a map to show files through.
	sample userns.Mapping
	// bare says that there is one ID only, so that no store can be opened.
	bare bool
	// userXattr says that overlay's marks are those of an ordinary user where there is no store that has some.
	userXattr bool
	// snapshots are those of the store, once it is open.
	snapshots *snapshot.Room
}

const (
	overlayFix = "use Linux 5.13 or newer and a store on ext4, xfs, btrfs or tmpfs (in a container, whose own files are mostly on an overlay: on a volume); " +
		"or set mount_program = \"/usr/bin/fuse-overlayfs\" in [storage.options.overlay] of storage.conf"
	volatileFix = "use Linux 5.10 or newer: until then each file that a step writes waits for the disk"
	procFix     = "in a container, start that with --security-opt systempaths=unconfined (podman: unmask=ALL; Kubernetes: procMount: Unmasked)"
	seccompFix  = "use a kernel with CONFIG_SECCOMP_FILTER=y"
	groupsFix   = "install newgidmap with its privileges: without them the kernel allows no change of groups"
	idmapFix    = "put the store on ext4, xfs, btrfs or tmpfs, with Linux 5.19 or newer"
	storeFix    = "make the directory writable, or choose another with --root"
)

// lookInside tries what a build does.
func lookInside(ctx context.Context, o insideOptions) Inside {
	in := tryAll(ctx, o)
	in.blame(denied())
	return in
}

func tryAll(ctx context.Context, o insideOptions) Inside {
	in := Inside{
		Proc:      trial(ctx, taskProc, unix.CLONE_NEWNS|unix.CLONE_NEWPID).orFix(procFix),
		Seccomp:   trial(ctx, taskSeccomp, 0).orFix(seccompFix),
		Network:   outcome(network.Available(ctx)).orFix(networkFix),
		Setgroups: trial(ctx, taskSetgroups, 0).orFix(groupsFix),
	}
	if o.bare {
		in.Store.Problem, in.Step.Problem = "it needs all of the user's IDs", "it needs all of the user's IDs"
		in.tryIn(os.TempDir(), o)
		return in
	}
	st, remove, err := openStore(ctx, o.store)
	in.Store = outcome(err).orFix(storeFix)
	if err != nil {
		in.Step.Problem = "there is no store to run it in"
		in.tryIn(os.TempDir(), o)
		return in
	}
	o.snapshots = snapshot.New(st)
	in.Driver, in.Renames = st.Driver(), o.snapshots.Way() == snapshot.ByRename
	if dir, drop, err := st.Parts().Scratch.Dir(ctx); err != nil {
		in.Store = outcome(err).orFix(storeFix)
	} else {
		in.tryOn(dir, o)
		in.Store = outcome(drop())
	}
	in.Step = outcome(tryStep(ctx, o))
	if err := errors.Join(o.snapshots.Close(), st.Close(), remove()); err != nil && in.Store.OK() {
		in.Store = outcome(err)
	}
	return in
}

// openStore opens the user's store or, if there is none yet, one like it beside its place, which remove takes away
// again.
func openStore(ctx context.Context, o store.Options) (st *store.Store, remove func() error, err error) {
	remove = func() error { return nil }
	at, err := store.Locate(o)
	if err != nil {
		return nil, nil, err
	}
	for _, place := range []string{at.Root, at.RunRoot} {
		if err := inTheWay(place); err != nil {
			return nil, nil, err
		}
	}
	sweep(filepath.Dir(at.Root))
	scratch := ""
	if dir := nearest(at.Root); dir != at.Root {
		if scratch, remove, err = newScratch(dir); err != nil {
			return nil, nil, fmt.Errorf("make store %s: nothing can be made in %s: %w", at.Root, dir, cause(err))
		}
		o.Root, o.RunRoot = filepath.Join(scratch, "store"), filepath.Join(scratch, "run")
		o.Driver = at.Driver
		if dir := nearest(at.RunRoot); unix.Access(dir, unix.W_OK) != nil {
			return nil, nil, errors.Join(fmt.Errorf("make run root %s: %s is not writable", at.RunRoot, dir), remove())
		}
	}
	if st, err = store.Open(ctx, o); err != nil {
		// it is about the store that there will be
		if place := new(store.OpenError); scratch != "" && errors.As(err, &place) {
			place.Problem = strings.ReplaceAll(place.Problem, o.Root, at.Root)
			place.Hint = strings.NewReplacer(o.Root, at.Root, o.RunRoot, at.RunRoot).Replace(place.Hint)
		}
		return nil, nil, errors.Join(err, remove())
	}
	return st, remove, nil
}

// inTheWay says what keeps a directory from being made: a name above it, or its own, that is something else.
func inTheWay(dir string) error {
	above := nearest(dir)
	rest, err := filepath.Rel(above, dir)
	if err != nil || above == dir {
		return err
	}
	first, _, _ := strings.Cut(rest, string(filepath.Separator))
	if path := filepath.Join(above, first); exists(path) {
		return fmt.Errorf("make %s: %s is there and is no directory\nhint: remove it, or choose another directory with --root and --runroot", dir,
			path)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// tryIn tries the mounts in a directory of its own below another.
func (in *Inside) tryIn(parent string, o insideOptions) {
	sweep(parent)
	dir, remove, err := newScratch(parent)
	if err != nil {
		in.Overlay.Problem, in.IDMap.Problem = "no directory for it", "no directory for it"
		return
	}
	in.tryOn(dir, o)
	_ = remove() // the next doctor does it
}

// tryOn tries the mounts that a build makes on the file system of a directory, which it may fill.
func (in *Inside) tryOn(dir string, o insideOptions) {
	in.Overlay = outcome(tryOverlay(filepath.Join(dir, "plain"), o, false)).orFix(overlayFix)
	if in.Overlay.OK() {
		in.Volatile = outcome(tryOverlay(filepath.Join(dir, "volatile"), o, true)).orFix(volatileFix)
	}
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil {
		in.IDMapOn = fileSystem(fs.Type)
	}
	in.IDMap = outcome(tryIDMap(dir, o.sample)).orFix(idmapFix)
}

// mount mounts an overlay as a build does.
func (o insideOptions) mount(of overlay.Options) (*os.File, error) {
	if o.snapshots != nil {
		return o.snapshots.Overlay(of)
	}
	of.UserXattr = o.userXattr
	return overlay.Mount(of)
}

// tryOverlay mounts an overlay, changes a file of its lower directory and makes another.
func tryOverlay(dir string, o insideOptions, volatile bool) (err error) {
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, name := range []string{"lower", "upper", "work"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	if err := os.WriteFile(filepath.Join(dir, "lower", "file"), []byte("below"), 0o600); err != nil {
		return err
	}
	root, err := o.mount(overlay.Options{Lower: files[:1], Upper: files[1], Work: files[2], Volatile: volatile})
	if err != nil {
		return err
	}
	defer root.Close()
	for name, flags := range map[string]int{"file": unix.O_WRONLY | unix.O_TRUNC,
		"new": unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL} {
		fd, err := unix.Openat(int(root.Fd()), name, flags|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return fmt.Errorf("write to overlay: %w", err)
		}
		unix.Close(fd)
	}
	if volatile {
		// A kernel that doesn't know the option gets the mount without it; one that does leaves a mark.
		if _, err := os.Lstat(filepath.Join(dir, "work", "work", "incompat", "volatile")); err != nil {
			return errors.New("the kernel's overlay has no option volatile")
		}
	}
	return nil
}

func tryIDMap(dir string, m userns.Mapping) error {
	ns, err := overlay.NewUserNS(m)
	if err != nil {
		return err
	}
	defer ns.Close()
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	view, err := overlay.Bind(f, overlay.BindOptions{UserNS: ns})
	if err != nil {
		return err
	}
	return view.Close()
}

// tryStep has this program say its version in a step.
func tryStep(ctx context.Context, o insideOptions) (err error) {
	snap, err := o.snapshots.Prepare(ctx, snapshot.Layers(nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snap.Remove()) }()
	dir, _ := snap.Files()
	if err := copySelf(filepath.Join(dir, "cooper")); err != nil {
		return err
	}
	step := executor.Step{Args: []string{"/cooper", "version"}, Mapping: o.steps}
	if step.Mapping != nil {
		// A file system that can't be ID-mapped is no failure: a build does without, and says so.
		if can, err := snapshot.CanMap(snap, *o.steps); err == nil && !can {
			step.Mapping = nil
		}
	}
	return snap.InNamespace(ctx, snapshot.NS{Mapping: step.Mapping}, func(root executor.Rootfs) (keep bool, err error) {
		step.Rootfs = root
		status, err := executor.Run(ctx, step)
		if err == nil && status.ExitCode != 0 {
			err = fmt.Errorf("the step ended with status %d", status.ExitCode)
		}
		return false, err
	})
}

func copySelf(to string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// trial runs a task in a child that may have namespaces of its own.
func trial(ctx context.Context, task string, flags uintptr) Outcome {
	cmd := again(ctx, task)
	cmd.SysProcAttr = cloned(flags)
	_, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return said(string(exit.Stderr))
	}
	if errors.Is(err, unix.ENOSPC) && flags&unix.CLONE_NEWPID != 0 {
		return Outcome{
			Tried: true, Problem: "no more pid or mount namespaces are allowed here (user.max_pid_namespaces)",
			Fix: "run as root: sysctl -w user.max_pid_namespaces=15000 user.max_mnt_namespaces=15000",
		}
	}
	return outcome(cause(err))
}
