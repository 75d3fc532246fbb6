package devices

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
	cdispec "tags.cncf.io/container-device-interface/specs-go"

	"github.com/cooperbuild/cooper/executor"
)

// A Name is a device as it is asked for.
type Name struct {
	// Text is HOSTPATH[:PATH[:rwm]], VENDOR/CLASS=NAME, or VENDOR/CLASS for all of a class.
	Text string
	// Required has it be an error that there is no such device; or else it is left out.
	Required bool
}

// A Mount shows a file or directory of the host.
type Mount struct {
	Source, Target string // absolute
	ReadOnly       bool
	Device         bool // it is a device node
}

// Set is what a step is given with its devices.
type Set struct {
	Mounts []Mount
	Env    []string // NAME=VALUE
	Groups []uint32
	Hooks  []executor.Hook
}

// Dirs are where CDI files lie, those of the user before the machine's: of two devices of a name the last counts.
func Dirs(home string) []string {
	dirs := []string{"/etc/cdi", "/var/run/cdi"}
	if home == "" {
		return dirs
	}
	return append(dirs, filepath.Join(home, "cdi"))
}

// CheckName refuses a text that names no device.
func CheckName(text string) error {
	if strings.HasPrefix(text, "/") {
		_, err := nodeOf(text)
		return err
	}
	kind, _, _ := strings.Cut(text, "=")
	vendor, class := parser.ParseQualifier(kind)
	if vendor == "" || parser.ValidateVendorName(vendor) != nil || parser.ValidateClassName(class) != nil {
		return fmt.Errorf("device %q: must be a path in /dev, or VENDOR/CLASS=NAME, which CDI files say", text)
	}
	return nil
}

// nodeOf reads HOSTPATH[:PATH[:rwm]].
func nodeOf(text string) (Mount, error) {
	fields := strings.Split(text, ":")
	m := Mount{Source: fields[0], Target: fields[0], Device: true}
	rest := fields[1:]
	if len(rest) > 0 && strings.HasPrefix(rest[0], "/") {
		m.Target, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 && isAccess(rest[0]) {
		if !strings.Contains(rest[0], "r") || !strings.Contains(rest[0], "w") {
			return m, fmt.Errorf("device %q: who may open the device may read and write it, so the permissions must be rw or rwm",
				text)
		}
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return m, fmt.Errorf("device %q: must be HOSTPATH[:PATH[:rwm]]", text)
	}
	m.Source, m.Target = filepath.Clean(m.Source), filepath.Clean(m.Target)
	return m, nil
}

// isAccess says that a text is made of the letters of permissions.
func isAccess(text string) bool { return text != "" && strings.Trim(text, "rwm") == "" }

// Find gives what the devices are. It reads the CDI files in dirs if one is named so.
func Find(names []Name, dirs []string) (Set, error) {
	var s Set
	var qualified []string
	var files *cdi.Cache
	for _, n := range names {
		if strings.HasPrefix(n.Text, "/") {
			if err := s.addNode(n); err != nil {
				return s, err
			}
			continue
		}
		if files == nil {
			var err error
			if files, err = cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false)); err != nil {
				return s, fmt.Errorf("read CDI files: %w", err)
			}
		}
		found := named(files, n.Text)
		if len(found) == 0 && n.Required {
			return s, missing(files, n.Text, dirs)
		}
		qualified = append(qualified, found...)
	}
	if len(qualified) == 0 {
		return s, nil
	}
	return s, s.takeNamed(files, qualified)
}

// named are the devices that a name stands for.
func named(files *cdi.Cache, text string) []string {
	all := files.ListDevices()
	kind, name, ok := strings.Cut(text, "=")
	if ok && name != "*" {
		if slices.Contains(all, text) {
			return []string{text}
		}
		return nil
	}
	if whole := kind + "=all"; slices.Contains(all, whole) { // a file may say what all of its devices are together
		return []string{whole}
	}
	return slices.DeleteFunc(all, func(d string) bool { return !strings.HasPrefix(d, kind+"=") })
}

// missing says that there is no such device, and why a file may not count.
func missing(files *cdi.Cache, text string, dirs []string) error {
	var broken []error
	for path, errs := range files.GetErrors() {
		broken = append(broken, fmt.Errorf("%s: %w", path, errors.Join(errs...)))
	}
	err := fmt.Errorf("there is no device %s in the CDI files of %s", text, strings.Join(dirs, ", "))
	if known := files.ListDevices(); len(known) > 0 {
		err = fmt.Errorf("%w; there are %s", err, strings.Join(known, ", "))
	}
	return errors.Join(append([]error{err}, broken...)...)
}

// addNode adds a device node, or all that lie below a directory.
func (s *Set) addNode(n Name) error {
	m, err := nodeOf(n.Text)
	if err != nil {
		return err
	}
	st, err := os.Stat(m.Source)
	switch {
	case errors.Is(err, os.ErrNotExist) && !n.Required:
		return nil
	case err != nil:
		return fmt.Errorf("device %s: %w", n.Text, err)
	case st.Mode()&os.ModeDevice != 0:
		s.Mounts = append(s.Mounts, m)
		return nil
	case !st.IsDir():
		return fmt.Errorf("device %s: %s is neither a device nor a directory with some", n.Text, m.Source)
	}
	return filepath.WalkDir(m.Source, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Type()&os.ModeDevice == 0 {
			return err
		}
		s.Mounts = append(s.Mounts, Mount{Source: path, Target: m.Target + strings.TrimPrefix(path, m.Source), Device: true})
		return nil
	})
}

// takeNamed takes what CDI files say of devices, each with what its file says of all of them.
func (s *Set) takeNamed(files *cdi.Cache, qualified []string) error {
	var seen []*cdi.Spec
	for _, name := range qualified {
		d := files.GetDevice(name)
		if d == nil {
			return fmt.Errorf("there is no device %s any more", name)
		}
		if of := d.GetSpec(); !slices.Contains(seen, of) {
			seen = append(seen, of)
			s.take(of.ContainerEdits)
		}
		s.take(d.ContainerEdits)
	}
	return nil
}

// take takes what a container is to be given.
func (s *Set) take(e cdispec.ContainerEdits) {
	s.Env = append(s.Env, e.Env...)
	s.Groups = append(s.Groups, e.AdditionalGIDs...)
	for _, d := range e.DeviceNodes {
		source := d.HostPath
		if source == "" {
			source = d.Path
		}
		s.Mounts = append(s.Mounts, Mount{Source: source, Target: d.Path, Device: true})
	}
	for _, m := range e.Mounts {
		s.Mounts = append(s.Mounts, Mount{Source: m.HostPath, Target: m.ContainerPath,
			ReadOnly: slices.Contains(m.Options, "ro")})
	}
	for _, h := range e.Hooks {
		s.Hooks = append(s.Hooks, executor.Hook{Point: h.HookName, Path: h.Path, Args: h.Args, Env: h.Env,
			Timeout: h.Timeout})
	}
}
