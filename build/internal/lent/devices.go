package lent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/devices"
	"github.com/cooperbuild/cooper/build/internal/hooks"
	"github.com/cooperbuild/cooper/build/internal/runtimes"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
)

// addDevices gives a step the devices that the options and its RUN name. The caller calls release when the step has
// ended, also after an error.
func (o Options) addDevices(s *executor.Step, asked []plan.Device) (release func() error, err error) {
	var files []*os.File
	release = func() error {
		var errs []error
		for _, f := range files {
			errs = append(errs, f.Close())
		}
		return errors.Join(errs...)
	}
	names := make([]devices.Name, 0, len(o.Devices)+len(asked))
	for _, text := range o.Devices {
		names = append(names, devices.Name{Text: text, Required: true})
	}
	for _, d := range asked {
		names = append(names, devices.Name{Text: d.Name, Required: d.Required})
	}
	if len(names) == 0 {
		return release, nil
	}
	set, err := devices.Find(names, o.deviceDirs())
	if err != nil {
		return release, err
	}
	for _, m := range set.Mounts {
		fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return release, fmt.Errorf("device: %w", &os.PathError{Op: "open", Path: m.Source, Err: err})
		}
		f := os.NewFile(uintptr(fd), m.Source)
		files = append(files, f)
		em := executor.Mount{Kind: executor.Bind, Target: m.Target, Source: f, ReadOnly: m.ReadOnly, IDMapped: true}
		if m.Device {
			em.Kind = executor.Device
		}
		s.Mounts = append(s.Mounts, em)
	}
	s.Env = append(s.Env, set.Env...)
	for _, gid := range set.Groups {
		s.AddGroups = append(s.AddGroups, strconv.FormatUint(uint64(gid), 10))
	}
	s.Hooks = append(s.Hooks, set.Hooks...)
	return release, nil
}

// Give lends a step what the options say, and the devices that its RUN asks for. The caller calls release when the step
// has ended, also after an error.
func (o Options) Give(ctx context.Context, s *executor.Step, asked []plan.Device) (release func() error, err error) {
	free, err := o.addDevices(s, asked)
	if err == nil {
		err = o.addHooks(s)
	}
	if err == nil {
		err = runHooks(ctx, s)
	}
	if err != nil {
		return free, err
	}
	unshare, err := o.share(s)
	return func() error { return errors.Join(unshare(), free()) }, err
}

// addHooks gives a step the hooks of the directories.
func (o Options) addHooks(s *executor.Step) error {
	set, err := hooks.Read(o.HookDirs)
	if err != nil || len(s.Args) == 0 {
		return err
	}
	s.Hooks = append(s.Hooks, set.For(s.Args[0], o.HostDirs)...)
	return nil
}

// runHooks has an OCI runtime run a step with hooks, which only runtimes run.
func runHooks(ctx context.Context, s *executor.Step) error {
	if len(s.Hooks) == 0 || s.Runtime != nil {
		return nil
	}
	found, err := runtimes.FindRuntime(ctx, "")
	if err != nil {
		return fmt.Errorf("a step has hooks, of a device's CDI file or --hooks-dir, which OCI runtimes run: %w", err)
	}
	s.Runtime = found
	return nil
}

// deviceDirs are where CDI files lie.
func (o Options) deviceDirs() []string {
	if len(o.DeviceDirs) > 0 {
		return o.DeviceDirs
	}
	config, err := os.UserConfigDir()
	if err != nil {
		config = ""
	}
	return devices.Dirs(config)
}
