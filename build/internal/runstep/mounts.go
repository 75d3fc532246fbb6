package runstep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// mounts opens the mounts of a RUN step. release closes them; it is never nil, also after an error.
func (r *Room) mounts(ctx context.Context, c runCall) (mounts []executor.Mount, release func() error, err error) {
	var releases []func() error
	release = func() error {
		var errs []error
		for i := len(releases) - 1; i >= 0; i-- {
			errs = append(errs, releases[i]())
		}
		return errors.Join(errs...)
	}

	for _, v := range r.Run.Volumes {
		opened, done, err := r.volume(ctx, v, c.ns)
		if err != nil {
			return nil, release, fmt.Errorf("volume %s:%s: %w", v.Source, v.Target, err)
		}
		releases = append(releases, done)
		mounts = append(mounts, opened)
	}

	caches, done, err := r.openCaches(ctx, c)
	releases = append(releases, done)
	if err != nil {
		return nil, release, err
	}

	for i, m := range c.op.Mounts {
		switch m.Type {
		case plan.MountTmpfs:
			mounts = append(mounts, executor.Mount{Kind: executor.Tmpfs, Target: m.Target, SizeBytes: m.SizeBytes,
				ReadOnly: m.ReadOnly})
		case plan.MountCache:
			mounts = append(mounts, caches.mount(i, m))
		case plan.MountBind:
			opened, done, err := r.bindMount(ctx, m, c)
			if err != nil {
				return nil, release, fmt.Errorf("mount %s: %w", m.Target, err)
			}
			releases = append(releases, done)
			mounts = append(mounts, opened)
		case plan.MountSecret, plan.MountSSH: // the executor makes these; see addSecrets and addAgents
		}
	}

	return mounts, release, nil
}

// bindMount mounts a directory or file of a context, a stage or an image. Files that the step writes to it are thrown
// away.
func (r *Room) bindMount(ctx context.Context, m plan.Mount, c runCall) (executor.Mount, func() error, error) {
	// An overlay can't be ID-mapped itself, so the view of a root is made from ID-mapped layers.
	in := r.Inputs.Of(m.From, c.done).For(c.ns)
	from, err := in.Open(ctx)
	if err != nil {
		return executor.Mount{}, nil, err
	}

	release := from.Release
	em := executor.Mount{
		Kind: executor.Bind, Source: from.Dir, Subpath: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
		IDMapped: from.Mapped,
	}

	if in.Local() {
		done, err := r.showContext(ctx, &em, from, m, c)
		release = joined(release, done)
		if err != nil {
			return em, nil, errors.Join(err, release())
		}
	}
	if m.ReadOnly {
		return em, release, nil
	}

	return r.withScratch(ctx, em, release)
}

// withScratch gives a mount a directory for files that the step writes and that are thrown away. The function that it
// returns releases the mount and that directory.
func (r *Room) withScratch(ctx context.Context, em executor.Mount, release func() error) (executor.Mount, func() error,
	error) {
	tmp, remove, err := r.Inputs.Roots.Store.Parts().Scratch.Dir(ctx)
	if err != nil {
		return em, nil, errors.Join(err, release())
	}

	release = joined(release, remove)
	if em.Scratch, err = makeScratch(tmp); err != nil {
		return em, nil, errors.Join(err, release())
	}
	return em, joined(release, em.Scratch.Close), nil
}

// makeScratch makes a directory for files that a step writes and that are thrown away.
func makeScratch(tmp string) (*os.File, error) {
	scratch := filepath.Join(tmp, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return nil, err
	}
	return fsys.OpenDir(scratch)
}

// joined gives a function that calls the second function and then the first.
func joined(first, second func() error) func() error {
	return func() error { return errors.Join(second(), first()) }
}
