package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/containerd/platforms"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// ExitError is a command that ended with another status than 0.
type ExitError struct {
	Args []string
	// Code is the exit status; 128 plus the signal's number if a signal ended the command.
	Code   int
	Signal string
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return fmt.Sprintf("the command was ended by signal %s", e.Signal)
	}
	return fmt.Sprintf("the command exited with status %d", e.Code)
}

// runWork is RUN.
func (b *builder) runWork(s *plan.Step, op *plan.Run, done func(*plan.Step) *root) work {
	network := op.Network
	if network == "" || network == "default" {
		network = b.req.Run.Network
	}
	if network == "" {
		network = "host"
	}
	shape := func() *cache.KeyBuilder {
		k := b.newKey("run").Add("args", op.Args...).Add("env", op.Env...).Add("cwd", op.Cwd).Add("user", op.User)
		k.Add("network", network).Add("platform", platforms.Format(op.Platform))
		if key := b.req.Identity.userNSKey(); key != "" { // a step can see its map
			k.Add("userns", key)
		}
		b.req.Run.addTo(k)
		if op.Insecure || op.Hostname != "" {
			k.Add("insecure", strconv.FormatBool(op.Insecure), op.Hostname)
		}
		for _, m := range op.Mounts {
			k.Add("mount", string(m.Type), m.Source, m.Target, m.ID, strconv.FormatBool(m.ReadOnly),
				strconv.FormatInt(m.SizeBytes, 10), strconv.Itoa(int(m.From.Kind)), m.Env, ownerText(m))
		}
		for _, f := range op.Files {
			k.Add("file", f.Path, strconv.FormatUint(uint64(f.Mode), 8), string(f.Data))
		}
		return k
	}
	seen := seenContexts{}
	w := work{
		shape: shape().Key(),
		key: func(ctx context.Context, below cache.ContentID) (cache.Key, error) {
			k := shape().Add("below", string(below))
			if err := b.addMountContent(ctx, k, op, done); err != nil {
				return "", err
			}
			return k.Key(), nil
		},
		exec: func(ctx context.Context, t *target) error {
			call := runCall{step: s, op: op, network: network, done: done, seen: seen}
			err := b.execRun(ctx, t, call)
			if errors.Is(err, executor.ErrNoCwd) {
				// A base image may name a directory that it hasn't got, and one may be removed: docker makes it.
				if err = b.mkdir(ctx, t, op.Cwd, ""); err == nil {
					err = b.execRun(ctx, t, call)
				}
			}
			return err
		},
	}
	b.watchMounts(&w, op, runCall{done: done, seen: seen})
	return w
}

// addMountContent puts what bind mounts show into the key. The content of cache mounts is not part of it, by design.
func (b *builder) addMountContent(ctx context.Context, k *cache.KeyBuilder, op *plan.Run, done func(*plan.Step) *root) error {
	for _, m := range op.Mounts {
		if m.Type != plan.MountBind {
			continue
		}
		in := b.input(m.From, done)
		id, err := in.identity(ctx)
		if err == nil && in.local() {
			id, err = in.digest(ctx, []string{m.Source}, source.Digest)
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
		k.Add("bind", id)
	}
	return nil
}

// runCall is what one RUN needs besides its target.
type runCall struct {
	step    *plan.Step
	op      *plan.Run
	network string
	done    func(*plan.Step) *root
	ns      stepNS
	seen    seenContexts
}

func (b *builder) execRun(ctx context.Context, t *target, c runCall) (err error) {
	if c.ns, err = b.stepNS(ctx, t, c); err != nil {
		return err
	}
	mounts, unmount, err := b.mounts(ctx, c)
	if err != nil {
		return errors.Join(err, unmount())
	}
	defer func() { err = errors.Join(err, unmount()) }()
	step := executor.Step{
		Args: c.op.Args, Env: append(slices.Clone(c.op.Env), c.op.ProxyEnv...), Cwd: c.op.Cwd, User: c.op.User,
		Mounts: mounts, Network: c.network, Hostname: c.op.Hostname, Security: executor.Security{Insecure: c.op.Insecure},
		Mapping: c.ns.mapping, UserNS: c.ns.joined, Shifted: c.ns.shifted,
		Stdout: progress.Writer(b.req.Progress, c.step.ID), Stderr: progress.StderrWriter(b.req.Progress, c.step.ID),
	}
	for _, f := range c.op.Files {
		step.Files = append(step.Files, executor.File{Path: f.Path, Mode: f.Mode, Data: f.Data})
	}
	kept, err := b.req.Run.isolate(&step, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept()) }()
	if err := errors.Join(b.req.Run.apply(&step), b.addSecrets(&step, c.op), b.addAgents(&step, c.op)); err != nil {
		return err
	}
	var ended func()
	step.Started, ended = b.note(c.step, c.op.User)
	status, err := b.runStep(ctx, t, c, step)
	ended()
	if err != nil {
		return err
	}
	switch {
	case status.Signal != 0:
		return &ExitError{Args: c.op.Args, Code: 128 + int(status.Signal), Signal: status.Signal.String()}
	case status.ExitCode != 0:
		return &ExitError{Args: c.op.Args, Code: status.ExitCode}
	}
	return nil
}

// rootfs is the root file system that a step runs in and writes to.
func (b *builder) rootfs(ctx context.Context, t *target, ns stepNS) (executor.Rootfs, func() error, error) {
	upper, err := fsys.OpenDir(t.snap.Dir())
	if err != nil {
		return executor.Rootfs{}, nil, err
	}
	if t.snap.Mounted() {
		return executor.Rootfs{Dir: upper}, upper.Close, nil
	}
	lower, err := b.stackFor(ctx, t.below, ns)
	if err != nil {
		return executor.Rootfs{}, nil, errors.Join(err, upper.Close())
	}
	workDir, err := fsys.OpenDir(t.snap.Work())
	if err != nil {
		return executor.Rootfs{}, nil, errors.Join(err, upper.Close())
	}
	stubs, err := b.stubDir()
	if err != nil {
		return executor.Rootfs{}, nil, errors.Join(err, upper.Close(), workDir.Close())
	}
	return executor.Rootfs{
		Lower: lower, Upper: upper, Work: workDir, Stubs: stubs,
		UserXattr: b.userXattr(), Volatile: b.store.Volatile(),
	}, func() error { return errors.Join(upper.Close(), workDir.Close()) }, nil
}

// stubDir is where the executor keeps the mount points that images lack, one for all steps of the build.
func (b *builder) stubDir() (*os.File, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stubs != nil {
		return b.stubs, nil
	}
	path, remove, err := b.store.TempTree(context.Background(), "stubs")
	if err != nil {
		return nil, err
	}
	if b.stubs, err = fsys.OpenDir(path); err != nil {
		return nil, errors.Join(err, remove())
	}
	b.cleanups = append(b.cleanups, remove, b.stubs.Close)
	return b.stubs, nil
}
