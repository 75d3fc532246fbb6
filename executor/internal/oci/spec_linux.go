package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/mounts"
	"github.com/cooperbuild/cooper/executor/internal/script"
	"github.com/cooperbuild/cooper/executor/spec"
	"github.com/cooperbuild/cooper/executor/step"
)

// writeConfig writes the bundle's config.json, and a copy of it to KeepBundle.
func (o *BackEnd) writeConfig() error {
	config := o.config()
	data, err := encode(config)
	if err != nil {
		return err
	}
	if err := o.bundle.write(configFile, data); err != nil {
		return err
	}
	return o.keep(config)
}

// encode gives the JSON of the configuration, indented.
func encode(config spec.Container) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(spec.Config(config)); err != nil {
		return nil, fmt.Errorf("write %s: %w", configFile, err)
	}
	return text.Bytes(), nil
}

// config gives the runtime's configuration of the step.
func (o *BackEnd) config() spec.Container {
	security := o.c.Step.Security
	s := spec.Container{
		Args: o.c.Step.Args, Env: o.c.Env, Cwd: o.c.Step.Cwd, Hostname: o.c.Hostname(), Root: rootDir,
		User: spec.User{UID: o.c.User.UID, GID: o.c.User.GID},
		Caps: o.caps().Names(), Ambient: security.Insecure, NoNewPrivs: security.NoNewPrivs,
		AppArmor: security.AppArmor, SELinux: security.SELinux,
		ShmSize:      o.c.ShmSize(),
		LoopbackOnly: o.c.Step.Network == step.NetworkNone, Sys: path.Join(o.bundle.at, sysDir),
		WritableSys: security.Insecure,
		UserNS:      o.configUserNS(),
	}
	shared := o.c.Step.Shared
	s.SharedIPC, s.SharedUTS, s.SharedGroups = !shared.IPC.IsOwn(), !shared.UTS.IsOwn(), !shared.ControlGroups.IsOwn()
	s.KeepGroups = o.c.Step.KeepGroups
	if o.c.IDs.CanSetGroups() && !s.KeepGroups {
		s.User.Groups = o.c.User.Groups
	}
	if m, err := o.c.IDs.Mapping(); err == nil {
		if _, err := m.GIDs.ToHost(container.TtyGroup); err == nil {
			tty := uint32(container.TtyGroup)
			s.TTYGroup = &tty
		}
	}
	for _, l := range o.c.Step.AllLimits() {
		s.Limits = append(s.Limits, spec.Limit{Name: "RLIMIT_" + strings.ToUpper(l.Name), Soft: l.Soft, Hard: l.Hard})
	}
	s.Mounts = o.configMounts()
	for _, h := range o.c.Step.Hooks {
		s.Hooks = append(s.Hooks, spec.Hook(h))
	}
	// In a user namespace runtimes show the caller's own device nodes, whose owner and mode are not the step's to change.
	for _, name := range o.c.Kernel.Devices {
		s.Locked = append(s.Locked, "/dev/"+name)
	}

	if !security.Insecure {
		s.Masked = absolute(append(container.MaskedFiles(), container.MaskedDirs()...))
		s.Locked = append(s.Locked, absolute(container.ReadOnlyPaths())...)
	}
	s.Masked = append(s.Masked, o.devices...)
	s.Filter = o.c.Filter.Runtime()
	return s
}

// configUserNS gives the configuration of the step's user namespace.
func (o *BackEnd) configUserNS() *spec.UserNS {
	switch joined, m := o.c.Step.UserNS, o.c.IDs.Own(); {
	case joined != nil:
		return &spec.UserNS{Path: path.Join(o.bundle.at, userNSFile), UIDs: joined.ListedUIDs, GIDs: joined.ListedGIDs}
	case m != nil:
		return &spec.UserNS{UIDs: m.UIDs, GIDs: m.GIDs}
	}
	return nil
}

// configMounts gives the step's mounts, each with its source in the bundle. Files in /dev need a mount each here, since
// the runtime makes its own /dev; the native back end finds them in memory.
func (o *BackEnd) configMounts() []spec.Mount {
	var list []spec.Mount
	for i, a := range o.c.Mounts.List {
		m := spec.Mount{Target: "/" + a.Name, Source: path.Join(o.bundle.at, mountName(i)), ReadOnly: a.ReadOnly}
		if a.Mount == nil {
			m.Source = path.Join(o.bundle.at, memoryPart, a.Memory)
		}
		if a.Bind != nil {
			m.ReadOnly, m.Device = a.Bind.ReadOnly, a.Bind.Kind == step.Device
		}
		list = append(list, m)
	}
	for _, f := range o.c.Step.Files {
		if target, err := mounts.CleanTarget(f.Path); err == nil && mounts.IsAtPlace(target) {
			list = append(list, spec.Mount{Target: "/" + target, Source: path.Join(o.bundle.at, memoryPart, target),
				ReadOnly: true})
		}
	}
	return list
}

func absolute(names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = "/" + name
	}
	return list
}

// checkCwd refuses a working directory that doesn't exist, which a runtime would make, or that a link of /proc leads
// to.
func (o *BackEnd) checkCwd() error {
	cwd := o.c.Step.Cwd
	if cwd == "" || cwd == "/" {
		return nil
	}
	found, err := inroot.Locate(o.c.Root.Dir, cwd)
	if err != nil {
		return &step.SetupError{Doing: script.EnterCwd + " " + cwd, Err: err}
	}
	view, name := o.c.Mounts.View(found.Name)
	switch {
	case inroot.Within(found.Name, "proc") && found.Name != "proc":
		return &step.SetupError{Doing: script.EnterCwd + " " + cwd + ": with an OCI runtime it must not be in /proc",
			Err: unix.ELOOP}
	case inroot.Within(found.Name, "dev") || inroot.Within(found.Name, "sys") || found.Name == "proc":
		return nil
	}
	f, err := inroot.Open(view, name, unix.O_PATH|unix.O_DIRECTORY)
	switch errno := errnoOf(err); {
	case errno == unix.ENOENT:
		return &step.SetupError{Doing: script.EnterCwd + " " + cwd, Err: step.ErrNoCwd}
	case err != nil:
		return &step.SetupError{Doing: script.EnterCwd + " " + cwd, Err: errno}
	}
	return f.Close()
}
