package confine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/executor"
)

// Where the kernel tells of its security modules, and the caller's own context.
const (
	appArmorSwitch = "/sys/module/apparmor/parameters/enabled"
	seLinuxStatus  = "/sys/fs/selinux/status"
	ownContext     = "/proc/self/attr/current"
)

// Confinement is what confines RUN steps besides their namespaces and capabilities.
type Confinement struct {
	// NoFilter runs steps without the filter of system calls. NoNewPrivs keeps setuid programs and file capabilities from
	// giving a step privileges.
	NoFilter, NoNewPrivs bool
	// Profile is a profile of system calls in JSON, instead of the usual one; nil: that.
	Profile []byte
	// AppArmor is the profile, and SELinux the context, of the steps' programs; empty: they stay in the caller's.
	AppArmor, SELinux string
}

// Set reads the values of --security-opt. Notes are about values that have no effect on this machine.
func (c *Confinement) Set(opts []string) (notes []string, err error) {
	var labels []string
	for _, opt := range opts {
		name, value := opt, ""
		if n := strings.IndexAny(opt, "=:"); n >= 0 {
			name, value = opt[:n], opt[n+1:]
		}
		switch {
		case name == "seccomp" && value != "":
			err = c.setProfile(value)
		case name == "no-new-privileges" && (value == "" || value == "true" || value == "false"):
			c.NoNewPrivs = value != "false"
		case name == "apparmor" && value != "":
			err = c.setAppArmor(value)
		case name == "label" && value == "disable": // as it is: steps stay in the caller's context
		case name == "label":
			labels = append(labels, value)
		default:
			err = errors.New("is not supported: use seccomp=FILE or =unconfined, apparmor=PROFILE, label=type:TYPE or no-new-privileges")
		}
		if err != nil {
			return nil, fmt.Errorf("--security-opt %s: %w", opt, err)
		}
	}
	return c.setLabels(labels)
}

// setProfile reads a profile of system calls, as the calling user.
func (c *Confinement) setProfile(value string) error {
	c.NoFilter, c.Profile = value == "unconfined", nil
	if value == "unconfined" || value == "builtin" {
		return nil
	}
	f, err := os.Open(value)
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, errors.New("it is no regular file"))
	}
	c.Profile, err = io.ReadAll(io.LimitReader(f, executor.MaxProfile+1))
	return err
}

func (c *Confinement) setAppArmor(profile string) error {
	if profile == "unconfined" { // as it is: steps stay in the caller's profile
		return nil
	}
	if text, err := os.ReadFile(appArmorSwitch); err != nil || !strings.HasPrefix(string(text), "Y") {
		return errors.New("this machine's kernel has no AppArmor, or has it switched off")
	}
	c.AppArmor = profile
	return nil
}

// setLabels sets the SELinux context that label=KIND:VALUE asks for.
func (c *Confinement) setLabels(labels []string) (notes []string, err error) {
	if len(labels) == 0 {
		return nil, nil
	}
	parts := make([]string, 0, len(labels))
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return nil, fmt.Errorf("--security-opt label=%s: %w", label, err)
		}
		parts = append(parts, "label="+label)
	}
	if !hasSELinux() {
		return []string{fmt.Sprintf(
			"--security-opt %s has no effect: this machine's kernel has no SELinux, or has it switched off",
			strings.Join(parts, ", "))}, nil
	}
	own, err := os.ReadFile(ownContext)
	if err != nil {
		return nil, fmt.Errorf("--security-opt %s: read cooper's own context: %w", parts[0], err)
	}
	c.SELinux, err = relabel(strings.TrimRight(string(own), "\x00\n"), labels)
	return nil, err
}

func hasSELinux() bool {
	_, err := os.Stat(seLinuxStatus)
	return err == nil
}

// labelKinds are the parts of a context, in their order.
func labelKinds() []string { return []string{"user", "role", "type", "level"} }

func checkLabel(label string) error {
	kind, value, _ := strings.Cut(label, ":")
	if !slices.Contains(labelKinds(), kind) || value == "" {
		return errors.New("is not supported: use label=disable, or user:, role:, type: or level: and a value")
	}
	return nil
}

// relabel gives the context with the parts that labels name.
func relabel(context string, labels []string) (string, error) {
	kinds := labelKinds()
	parts := strings.SplitN(context, ":", len(kinds)) // a level may have colons
	if len(parts) < len(kinds)-1 {
		return "", fmt.Errorf("--security-opt label: cooper's own SELinux context is %q, which has no type", context)
	}
	for _, label := range labels {
		kind, value, _ := strings.Cut(label, ":")
		at := slices.Index(kinds, kind)
		if at == len(parts) {
			parts = append(parts, "")
		}
		parts[at] = value
	}
	return strings.Join(parts, ":"), nil
}

// Filter makes the system call filter of steps with a set of capabilities; nil: the usual one.
func (c *Confinement) Filter(caps *executor.Caps) (*executor.Filter, error) {
	if c.Profile == nil && caps == nil {
		return nil, nil //nolint:nilnil // nil means the usual filter
	}
	f, err := executor.NewFilter(c.Profile, caps)
	if err != nil {
		return nil, fmt.Errorf("profile of system calls: %w", err)
	}
	return f, nil
}
