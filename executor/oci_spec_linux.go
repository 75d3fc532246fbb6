package executor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/seccomp"
	"github.com/cooperbuild/cooper/executor/spec"
)

// writeConfig writes the bundle's config.json, and a copy of it to KeepBundle.
func (o *oci) writeConfig() error {
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
func (o *oci) config() spec.Container {
	security := o.c.step.Security
	s := spec.Container{
		Args: o.c.step.Args, Env: o.c.env, Cwd: o.c.step.Cwd, Hostname: o.c.hostname(), Root: rootDir,
		User: spec.User{UID: o.c.user.UID, GID: o.c.user.GID},
		Caps: (security.caps() & o.c.permitted()).names(), Ambient: security.Insecure, NoNewPrivs: security.NoNewPrivs,
		ShmSize:      o.c.shmSize(),
		LoopbackOnly: o.c.step.Network == networkNone, Sys: path.Join(o.bundle.at, sysDir), WritableSys: security.Insecure,
		UserNS: o.configUserNS(),
	}

	if o.c.canSetGroups() {
		s.User.Groups = o.c.user.Groups
	}
	if m, err := o.c.mapping(); err == nil {
		if _, err := m.GIDs.ToHost(ttyGroup); err == nil {
			tty := uint32(ttyGroup)
			s.TTYGroup = &tty
		}
	}

	for _, l := range o.c.step.Limits {
		s.Limits = append(s.Limits, spec.Limit{Name: "RLIMIT_" + strings.ToUpper(l.Name), Soft: l.Soft, Hard: l.Hard})
	}
	s.Mounts = o.configMounts()
	// In a user namespace runtimes show the caller's own device nodes, whose owner and mode are not the step's to change.
	for _, name := range o.c.devices {
		s.Locked = append(s.Locked, "/dev/"+name)
	}

	if !security.Insecure {
		s.Masked = absolute(append(maskedFiles(), maskedDirs()...))
		s.Locked = append(s.Locked, absolute(readOnlyPaths())...)
	}
	s.Filter = seccomp.RuntimeFilter(security.Insecure || security.NoFilter)
	return s
}

// configUserNS gives the configuration of the step's user namespace.
func (o *oci) configUserNS() *spec.UserNS {
	switch joined, m := o.c.step.UserNS, o.c.step.Mapping; {
	case joined != nil:
		return &spec.UserNS{Path: path.Join(o.bundle.at, userNSFile), UIDs: joined.ListedUIDs, GIDs: joined.ListedGIDs}
	case m != nil:
		return &spec.UserNS{UIDs: m.UIDs, GIDs: m.GIDs}
	}
	return nil
}

// configMounts gives the step's mounts, each with its source in the bundle. Files in /dev need a mount each here, since
// the runtime makes its own /dev; the native back end finds them in the room.
func (o *oci) configMounts() []spec.Mount {
	var list []spec.Mount
	for i, a := range o.c.mounts {
		m := spec.Mount{Target: "/" + a.Name, Source: path.Join(o.bundle.at, mountName(i)), ReadOnly: a.readOnly}
		if a.mount == nil {
			m.Source = path.Join(o.bundle.at, roomPart, a.room)
		}
		if a.bind != nil {
			m.ReadOnly = a.bind.ReadOnly
		}
		list = append(list, m)
	}
	for _, f := range o.c.step.Files {
		if target, err := cleanTarget(f.Path); err == nil && isAtPlace(target) {
			list = append(list, spec.Mount{Target: "/" + target, Source: path.Join(o.bundle.at, roomPart, target),
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
func (o *oci) checkCwd() error {
	cwd := o.c.step.Cwd
	if cwd == "" || cwd == "/" {
		return nil
	}
	found, err := inroot.Locate(o.c.root.dir, cwd)
	if err != nil {
		return &SetupError{enterCwd + " " + cwd, err}
	}
	view, name := o.viewOf(found.Name)
	switch {
	case inroot.Within(found.Name, "proc") && found.Name != "proc":
		return &SetupError{enterCwd + " " + cwd + ": with an OCI runtime it must not be in /proc", unix.ELOOP}
	case inroot.Within(found.Name, "dev") || inroot.Within(found.Name, "sys") || found.Name == "proc":
		return nil
	}
	f, err := inroot.Open(view, name, unix.O_PATH|unix.O_DIRECTORY)
	switch errno := errnoOf(err); {
	case errno == unix.ENOENT:
		return &SetupError{enterCwd + " " + cwd, ErrNoCwd}
	case err != nil:
		return &SetupError{enterCwd + " " + cwd, errno}
	}
	return f.Close()
}
