package runstep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/containerd/platforms"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/directories"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/stepnet"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/executor"
)

// ExitError says that a command ended with an exit status other than 0.
type ExitError struct {
	Args []string
	// Code is the exit status; 128 plus the signal's number if a signal ended the command.
	Code   int
	Signal string
	// Limit says which limit the command has met, as a clause; empty: none that is known.
	Limit string
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("the command exited with status %d", e.Code)
	if e.Signal != "" {
		text = "the command was ended by signal " + e.Signal
	}
	if e.Limit != "" {
		text += ": " + e.Limit
	}
	return text
}

// Work gives the work of a RUN; done gives the root of a step that was done before.
func (r *Room) Work(s *plan.Step, op *plan.Run, done func(*plan.Step) *rootfs.Root) rootfs.Work {
	return Connected(r, s, op, done, func(e *executor.Step) {
		to := r.Inputs.Roots.Progress
		e.Stdout, e.Stderr = r.Run.LogLimit.Clip(progress.Writer(to, s.ID), progress.StderrWriter(to, s.ID))
	})
}

// Connected is Work with a command whose streams connect sets.
func Connected(r *Room, s *plan.Step, op *plan.Run, done func(*plan.Step) *rootfs.Root,
	connect func(*executor.Step)) rootfs.Work {
	network := cmp.Or(op.Network, "default")
	if network == "default" {
		network = cmp.Or(r.Run.Network, stepnet.Default)
	}
	return &work{room: r, call: runCall{step: s, op: op, network: network, done: done, seen: seenContexts{},
		connect: connect}}
}

// work is the rootfs.Work of a RUN.
type work struct {
	room *Room
	call runCall
	// before is the fingerprint of the files that mounts show of contexts. Exec sets it before the step runs; Stable
	// compares it.
	before string
}

func (w *work) shape() *cache.KeyBuilder { return w.describe(w.room.Inputs.Roots.NewKey("run")) }

// describe adds to a key all that is known before any file is looked at.
func (w *work) describe(k *cache.KeyBuilder) *cache.KeyBuilder {
	r, op := w.room, w.call.op
	k.Add("args", op.Args...).Add("env", op.Env...).Add("cwd", op.Cwd).Add("user", op.User)
	k.Add("network", stepnet.Key(w.call.network)).Add("platform", platforms.Format(op.Platform))
	if key := r.Inputs.Roots.Identity.Key(); key != "" { // a step can see its ID map
		k.Add("userns", key)
	}
	r.Run.addTo(k)
	if op.Insecure || op.Hostname != "" {
		k.Add("insecure", strconv.FormatBool(op.Insecure), op.Hostname)
	}
	for _, m := range op.Mounts {
		k.Add("mount", string(m.Type), m.Source, m.Target, m.ID, strconv.FormatBool(m.ReadOnly),
			strconv.FormatInt(m.SizeBytes, 10), strconv.Itoa(int(m.From.Kind)), m.Env, ownerText(m))
	}
	for _, d := range op.Devices {
		k.Add("device", d.Name, strconv.FormatBool(d.Required))
	}
	for _, f := range op.Files {
		k.Add("file", f.Path, strconv.FormatUint(uint64(f.Mode), 8), string(f.Data))
	}
	return k
}

func (w *work) Shape() rootfs.Shape {
	showsContext := slices.ContainsFunc(w.call.op.Mounts, func(m plan.Mount) bool {
		return m.Type == plan.MountBind && w.room.Inputs.Of(m.From, w.call.done).Local()
	})
	return rootfs.Shape{Key: w.shape().Key(), Awaited: true, ReadsFiles: showsContext}
}

func (w *work) Keys() []rootfs.KeyFunc { return []rootfs.KeyFunc{w.key} }

func (w *work) key(ctx context.Context, below cache.ContentID) (cache.Key, error) {
	k := w.shape().Add("below", string(below))
	if err := w.room.addMountContent(ctx, k, w.call, nil); err != nil {
		return "", err
	}
	return k.Key(), nil
}

// Recipe is that of [rootfs.Described].
func (w *work) Recipe(ctx context.Context, below *cache.ContentID) (*cache.Recipe, error) {
	k := w.describe(w.room.Inputs.Roots.NewRecipe("run"))
	if below == nil {
		return k.Recipe(nil), nil
	}
	k.Add("below", string(*below))
	files := map[string]string{}
	err := w.room.addMountContent(ctx, k, w.call, files)
	return k.Recipe(files), err
}

func (w *work) Exec(ctx context.Context, t *rootfs.Staged) (err error) {
	r, c := w.room, w.call
	if w.before, err = r.lookAtContexts(ctx, c, c.seen); err != nil {
		return err
	}
	err = r.execRun(ctx, t, c)
	if errors.Is(err, executor.ErrNoCwd) {
		// The working directory may be missing: a base image may name one that it hasn't got, or a step may remove it. Like
		// docker, cooper makes it then.
		if err = directories.Make(ctx, t, c.op.Cwd, ""); err == nil {
			err = r.execRun(ctx, t, c)
		}
	}
	return explainFull(r.Inputs.Roots.Store, err)
}

func (w *work) Stable(ctx context.Context) (bool, error) {
	after, err := w.room.lookAtContexts(ctx, w.call, nil)
	return after == w.before, err
}

// addMountContent adds the content that bind mounts show to the key, and lists the files of contexts in files unless
// that is nil. By design it doesn't add the content of cache mounts.
func (r *Room) addMountContent(ctx context.Context, k *cache.KeyBuilder, c runCall, files map[string]string) error {
	for _, m := range c.op.Mounts {
		if m.Type != plan.MountBind {
			continue
		}
		in := r.Inputs.Of(m.From, c.done)
		id, err := in.Identity(ctx)
		if err == nil && in.Local() {
			o := source.DigestOptions{Query: source.Query{Patterns: []string{m.Source}}}
			if files != nil {
				o.Listing = new(source.Listing)
			}
			id, err = in.DigestOf(ctx, o, source.Digest)
			if files != nil && err == nil {
				files[in.Name()+" at "+m.Target] = o.Listing.Text()
			}
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
		k.Add("bind", id)
		k.Note("shown", in.Name()+" at "+m.Target, id)
	}
	return nil
}

// runCall holds what one RUN needs besides the snapshot that it writes to.
type runCall struct {
	step    *plan.Step
	op      *plan.Run
	network string
	done    func(*plan.Step) *rootfs.Root
	ns      rootfs.NS
	seen    seenContexts
	// connect sets the standard streams of the command.
	connect func(*executor.Step)
}

// need gives the IDs that a RUN needs besides those of the root that it runs on.
func (r *Room) need(c runCall) rootfs.Need {
	n := rootfs.Need{User: c.op.User}
	for _, m := range c.op.Mounts {
		n.IDs.UIDs, n.IDs.GIDs = append(n.IDs.UIDs, m.UID), append(n.IDs.GIDs, m.GID)
		if in := r.Inputs.Of(m.From, c.done); !in.Local() {
			n.Roots = append(n.Roots, in.Root())
		}
	}
	return n
}

// execRun runs the command of a RUN, which must succeed.
func (r *Room) execRun(ctx context.Context, t *rootfs.Staged, c runCall) error {
	status, err := r.run(ctx, t, c)
	if err == nil {
		r.tell(c.step.ID, status)
	}
	late := new(TimeoutError)
	switch {
	case errors.As(err, &late):
		return late
	case err != nil:
		return err
	case status.Signal != 0:
		return &ExitError{Args: c.op.Args, Code: 128 + int(status.Signal), Signal: status.Signal.String(),
			Limit: r.Run.reason(status.Limited)}
	case status.ExitCode != 0:
		return &ExitError{Args: c.op.Args, Code: status.ExitCode, Limit: r.Run.reason(status.Limited)}
	}
	return nil
}

// Try runs a command in a snapshot that nobody keeps. Its working directory is made if it is missing. connect sets the
// streams of the command and what else is only for commands that somebody runs by hand.
func (r *Room) Try(ctx context.Context, t *rootfs.Staged, op *plan.Run, connect func(*executor.Step)) (executor.Status,
	error) {
	if op.Cwd != "" && op.Cwd != "/" {
		if err := directories.Make(ctx, t, op.Cwd, ""); err != nil {
			return executor.Status{}, fmt.Errorf("make the working directory: %w", err)
		}
	}
	return r.run(ctx, t, runCall{step: t.Step, op: op, network: op.Network, seen: seenContexts{}, connect: connect})
}

// run runs a command.
func (r *Room) run(ctx context.Context, t *rootfs.Staged, c runCall) (status executor.Status, err error) {
	r.networks.Prepare(ctx, c.network)
	if c.ns, err = r.Inputs.Roots.Namespace(ctx, t, r.need(c)); err != nil {
		return status, err
	}
	mounts, unmount, err := r.mounts(ctx, c)
	if err != nil {
		return status, errors.Join(err, unmount())
	}
	defer func() { err = errors.Join(err, unmount()) }()
	connected, err := r.networks.Join(ctx, c.network, func(line string) {
		r.Inputs.Roots.Progress.Emit(progress.StepOutput{ID: c.step.ID, Data: []byte(line + "\n"), Stderr: true})
	})
	if err != nil {
		return status, err
	}
	defer func() {
		err = errors.Join(err, connected.Close())
		if traffic := connected.Traffic(); len(traffic) > 0 {
			r.Inputs.Roots.Progress.Emit(progress.StepTalked{ID: c.step.ID, Traffic: traffic})
		}
	}()
	r.networks.Warn(c.op, connected.Kind, r.Run.DNS)
	step := executor.Step{
		Args: c.op.Args, Env: append(slices.Clone(c.op.Env), r.Run.ProxyEnv(c.op, connected.Kind)...),
		Cwd: c.op.Cwd, User: c.op.User,
		Mounts: mounts, Hostname: c.op.Hostname, Security: executor.Security{Insecure: c.op.Insecure},
		Mapping: c.ns.Mapping, UserNS: c.ns.Joined, Shifted: c.ns.Shifted,
	}
	connected.Apply(&step)
	c.connect(&step)

	for _, f := range c.op.Files {
		step.Files = append(step.Files, executor.File{Path: f.Path, Mode: f.Mode, Data: f.Data})
	}
	kept, err := r.Run.isolate(&step, c)
	if err != nil {
		return status, err
	}
	defer func() { err = errors.Join(err, kept()) }()
	if step.Security.Filter, err = r.filter(); err != nil {
		return status, err
	}
	secrets, err := r.addSecrets(ctx, &step, c.op)
	if err := errors.Join(err, r.Run.apply(&step), addAgents(r.Agents, &step, c.op)); err != nil {
		return status, err
	}

	taken, err := r.Run.Lent.Give(ctx, &step, c.op.Devices)
	defer func() { err = errors.Join(err, taken()) }()
	if err != nil {
		return status, err
	}
	step.AddHosts = append(slices.Clip(step.AddHosts), r.Run.HostNames(connected.Kind)...)
	var ended func()
	step.Started, ended = r.note(c.step, c.op.User)
	ctx, cancel := r.Run.within(ctx)
	defer cancel()
	status, err = r.Inputs.Roots.Run(ctx, t, c.ns, func(root executor.Rootfs) (executor.Status, error) {
		step.Rootfs, step.Groups = root, r.groups
		status, err := r.emulate.run(ctx, step, c.op.Platform)
		if err == nil && status.ExitCode == 0 {
			warnOfLeaks(r.Inputs.Roots.Progress, r.StepName(c.step), root, secrets)
		}
		return status, err
	})
	ended()
	return status, err
}

// explainFull adds to the error of a command that the disk is full, if it is, since that may be why it failed. It must
// be called before files of the step are removed.
func explainFull(s *store.Store, err error) error {
	if !errors.As(err, new(*ExitError)) {
		return err
	}
	if full := s.Exhausted(); full != nil {
		return fmt.Errorf("%w\nhint: %s: %s", err, full.What, full.Hint)
	}
	return err
}
