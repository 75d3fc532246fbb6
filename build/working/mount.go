package working

import (
	"encoding/csv"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/internal/size"
)

// AddMount reads a --mount of a command: a directory or file of the host, below dir if its path is relative, a
// directory that is kept from command to command, or memory.
func AddMount(text, dir string, c *Command, o *Options) error {
	m, err := readMount(text)
	if err != nil {
		return fmt.Errorf("--mount %s: %w", text, err)
	}
	if m.kind != string(plan.MountBind) {
		c.Mounts = append(c.Mounts, m.Mount)
		return nil
	}
	source, err := filepath.Abs(filepath.Join(dir, m.Source))
	if filepath.IsAbs(m.Source) {
		source, err = m.Source, nil
	}
	if err != nil {
		return fmt.Errorf("--mount %s: %w", text, err)
	}
	o.Run.Volumes = append(o.Run.Volumes, runstep.Volume{Source: filepath.Clean(source), Target: m.Target,
		ReadOnly: m.ReadOnly})
	return nil
}

// mount is a --mount that was read; of a bind only Source, Target and ReadOnly count.
type mount struct {
	kind string
	plan.Mount
}

func readMount(text string) (m mount, err error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return m, err
	}
	m.kind, m.Sharing, m.Mount.Mode = string(plan.MountBind), plan.SharingShared, 0o755
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		if err := m.set(strings.ToLower(key), value); err != nil {
			return m, err
		}
	}
	m.Type = plan.MountType(m.kind)
	switch {
	case m.Target == "":
		return m, fmt.Errorf("it needs a target")
	case m.Type == plan.MountBind && m.Source == "":
		return m, fmt.Errorf("a bind needs a source, which is on the host")
	case m.Type != plan.MountBind && m.Source != "":
		return m, fmt.Errorf("only a bind has a source")
	case m.Type == plan.MountCache && m.ID == "":
		m.ID = m.Target
	}
	if m.Type == plan.MountCache {
		m.Source = "/"
	}
	return m, nil
}

func (m *mount) set(key, value string) (err error) {
	switch key {
	case "type":
		switch m.kind = value; plan.MountType(value) {
		case plan.MountBind, plan.MountCache, plan.MountTmpfs:
			return nil
		case plan.MountSecret, plan.MountSSH:
			return fmt.Errorf("type=%s: only a build is given secrets and agents", value)
		}
		return fmt.Errorf("type=%s: must be bind, cache or tmpfs", value)
	case "src", "source":
		m.Source = value
	case "dst", "destination", "target":
		if !path.IsAbs(value) {
			return fmt.Errorf("%s=%s: must be absolute", key, value)
		}
		m.Target = path.Clean(value)
	case "id":
		m.ID = value
	case "sharing":
		m.Sharing = plan.Sharing(value)
		if m.Sharing != plan.SharingShared && m.Sharing != plan.SharingLocked && m.Sharing != plan.SharingPrivate {
			return fmt.Errorf("sharing=%s: must be shared, locked or private", value)
		}
	case "ro", "readonly", "read-only":
		m.ReadOnly, err = flag(value, true)
	case "rw", "readwrite", "read-write":
		m.ReadOnly, err = flag(value, false)
	case "mode", "uid", "gid":
		err = m.own(key, value)
	case "tmpfs-size", "size":
		m.SizeBytes, err = size.Parse(value)
	// These ask for what is always so, or for labels that commands don't have.
	case "z", "Z", "relabel", "bind-propagation", "bind-nonrecursive", "private", "rprivate":
	default:
		return fmt.Errorf("%s is not supported", key)
	}
	if err != nil {
		return fmt.Errorf("%s=%s: %w", key, value, err)
	}
	return nil
}

// own reads whose a cache's directory is when it is made.
func (m *mount) own(key, value string) error {
	base := 10
	if key == "mode" {
		base = 8
	}
	n, err := strconv.ParseUint(value, base, 32)
	if err != nil {
		return fmt.Errorf("must be a number")
	}
	m.Owned = true
	switch key {
	case "mode":
		m.Mount.Mode = uint32(n)
	case "uid":
		m.UID = uint32(n)
	case "gid":
		m.GID = uint32(n)
	}
	return nil
}

// flag reads true, false or nothing, which is true, of a field that means is when it is true.
func flag(value string, is bool) (bool, error) {
	if value == "" {
		return is, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return is, fmt.Errorf("must be true or false")
	}
	return on == is, nil
}
