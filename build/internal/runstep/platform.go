package runstep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/emulator"
)

// ParsePlatforms reads the values of --platform: lists of OS/ARCH[/VARIANT] or "local", separated by commas. It gives
// each platform once, normalised; no values give none.
func ParsePlatforms(texts []string) ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for _, text := range texts {
		for one := range strings.SplitSeq(text, ",") {
			p, err := parsePlatform(strings.TrimSpace(one))
			if err != nil {
				return nil, fmt.Errorf("--platform: %w\nhint: a platform is OS/ARCH[/VARIANT], such as linux/arm64", err)
			}
			same := func(o ocispec.Platform) bool { return platforms.FormatAll(o) == platforms.FormatAll(p) }
			if !slices.ContainsFunc(all, same) {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

func parsePlatform(text string) (ocispec.Platform, error) {
	if text == "local" {
		return MachinePlatform(), nil
	}
	return plan.ParsePlatform(text, MachinePlatform())
}

// MachinePlatform gives the platform of this machine.
func MachinePlatform() ocispec.Platform { return platforms.Normalize(platforms.DefaultSpec()) }

// emulation finds out how programs of other architectures can be executed on this machine. It looks once in a build.
type emulation struct {
	mu        sync.Mutex
	executes  map[string]bool
	emulators []emulator.Emulator
	looked    bool
}

// runsHere tells whether the machine executes the programs of a platform without an emulator.
func (e *emulation) runsHere(p ocispec.Platform) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.native(p.Architecture)
}

func (e *emulation) native(arch string) bool {
	native, known := e.executes[arch]
	if !known {
		if e.executes == nil {
			e.executes = map[string]bool{}
		}
		native = emulator.Executes(arch)
		e.executes[arch] = native
	}
	return native
}

// find gives the emulators to register for a step for a platform: none if its programs run natively, or with an
// emulator that the machine has registered. A step's own registrations hide those of the machine, so the result has all
// emulators that were found. The one for this platform may not be among them.
func (e *emulation) find(p ocispec.Platform) []emulator.Emulator {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.native(p.Architecture) || emulator.Handled(p.Architecture) {
		return nil
	}
	if _, ok := emulator.Find(p.Architecture); !ok {
		return nil
	}
	if !e.looked {
		e.looked = true
		for _, arch := range emulator.Archs() {
			if found, ok := emulator.Find(arch); ok && !e.native(arch) {
				e.emulators = append(e.emulators, found)
			}
		}
	}
	return e.emulators
}

// run runs a step whose programs are made for a platform.
func (e *emulation) run(ctx context.Context, step executor.Step, p ocispec.Platform) (executor.Status, error) {
	step.Emulators = e.find(p)
	status, err := executor.Run(ctx, step)
	if errors.Is(err, emulator.ErrRegister) {
		// The machine may have registered an emulator that can't be seen from here, as in a container.
		step.Emulators = nil
		var again error
		if status, again = executor.Run(ctx, step); !errors.Is(again, unix.ENOEXEC) {
			err = again
		}
	}
	if err != nil {
		return status, e.explain(err, p)
	}
	return status, nil
}

// explain adds to the error of a step for another platform which emulator is missing. No program of the step was
// executed.
func (e *emulation) explain(err error, p ocispec.Platform) error {
	if e.runsHere(p) {
		return err
	}
	names := emulator.Names(p.Architecture)
	needs := fmt.Sprintf("RUN needs to execute %s programs, and this machine is %s",
		platforms.Format(p), platforms.Format(MachinePlatform()))
	switch {
	case errors.Is(err, emulator.ErrRegister):
		return fmt.Errorf("%w: %s: %w\nhint: %s", store.ErrMachine, needs, err, registerHint(err))
	case !errors.Is(err, unix.ENOEXEC):
		return err
	case len(names) == 0:
		return fmt.Errorf("%w: %s: %w\nhint: there is no emulator for it; build it in a stage FROM --platform=$BUILDPLATFORM",
			store.ErrMachine, needs, err)
	case emulator.Handled(p.Architecture):
		return fmt.Errorf("%w\nhint: the image is for %s: is the program?", err, platforms.Format(p))
	}
	if _, ok := emulator.Find(p.Architecture); ok {
		return fmt.Errorf("%w\nhint: the image is for %s: is the program?", err, platforms.Format(p))
	}
	return fmt.Errorf("%w: %s: there is no %s in PATH\nhint: install qemu-user-static (Debian, Ubuntu: apt-get install qemu-user-static; "+
		"Fedora: dnf install qemu-user-static)", store.ErrMachine, needs, names[0])
}

// registerHint gives the remedy if a step can't register emulators of its own.
func registerHint(err error) string {
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return "--isolation=native registers them for the step; as root of the machine, systemctl restart systemd-binfmt does for everybody"
	case errors.Is(err, unix.ENODEV):
		return "this kernel has no binfmt_misc: load the module (modprobe binfmt_misc)"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL):
		return "before Linux 6.7, and in some containers, only root of the machine can register emulators: " +
			"as that root, systemctl restart systemd-binfmt"
	}
	return "as root of the machine, systemctl restart systemd-binfmt registers the emulators for everybody"
}
