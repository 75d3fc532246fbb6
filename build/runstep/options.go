package runstep

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/executor"
)

// MaxSecret is the largest secret in bytes.
const MaxSecret = 500 << 10

// DNS is what the /etc/resolv.conf of RUN steps says instead of the host's.
type DNS = executor.DNS

// Options hold for every RUN step.
type Options struct {
	// Network is "host" or "none" for steps that don't say; empty is host.
	Network string
	// HostNetwork allows RUN --network=host.
	HostNetwork bool
	// AddHosts are "name:address" lines for /etc/hosts.
	AddHosts []string
	DNS      DNS
	// ShmSize is the size of /dev/shm in bytes; 0 is 64 MiB.
	ShmSize int64
	// Limits are "name=soft[:hard]".
	Limits []string
	// CapAdd and CapDrop change the set of capabilities; what is in both is added.
	CapAdd, CapDrop []string
	// NoFilter leaves the system call filter out, NoNewPrivs keeps setuid programs from giving a step anything.
	NoFilter, NoNewPrivs bool
	// Insecure allows RUN --security=insecure.
	Insecure bool
	// Proxies are proxy variables by name; see plan.Options.
	Proxies map[string]string
	// ReadDirs are the directories below which ADD may read git repositories by file://.
	ReadDirs []string
	// Runtime runs the steps in place of cooper's own executor, which does if it is nil. That is in no key: what a step
	// can do is the same.
	Runtime *Runtime
	// KeepBundle is a directory that gets what the Runtime is given, below the number of each step that is run; empty:
	// none is kept.
	KeepBundle string
	// Volumes are shown to every step.
	Volumes []Volume
	// Secrets by ID are shown to the steps that mount them, and give ADD credentials for servers. They are in memory only.
	Secrets map[string]Secret
	// Agents by ID are what ssh mounts reach, and git that of the ID "default": the socket of an agent, or private key
	// files.
	Agents map[string][]string
}

// A Secret is at most MaxSecret bytes that nothing may print.
type Secret []byte

// String keeps a secret out of what is printed by accident.
func (Secret) String() string { return "[secret]" }

// GoString does so for %#v.
func (Secret) GoString() string { return "[secret]" }

// A Volume is a directory or file of the host that every RUN step sees.
type Volume struct {
	// Source is on the host, Target in the step; both are absolute.
	Source, Target string
	ReadOnly       bool
	// Discard throws away what a step writes.
	Discard bool
	// MapOwners shows the files of the host's IDs as those of the same IDs of the step, so that what its root writes is
	// the host root's. It is for real root, whose steps else see the owners that there are.
	MapOwners bool
}

// ParseVolume reads HOST:TARGET[:OPTION,...].
func ParseVolume(text string) (Volume, error) {
	source, rest, ok := strings.Cut(text, ":")
	target, options, hasOptions := strings.Cut(rest, ":")
	v := Volume{Source: filepath.Clean(source), Target: filepath.Clean(target)}
	switch {
	case !ok || source == "" || target == "":
		return v, fmt.Errorf("volume %q: must be HOST:TARGET[:ro]", text)
	case !filepath.IsAbs(source):
		return v, fmt.Errorf(
			"volume %q: the path on the host must be absolute; there are no named volumes, use RUN --mount=type=cache", text)
	case !filepath.IsAbs(target) || v.Target == "/":
		return v, fmt.Errorf("volume %q: the path in the step must be absolute, and not the root", text)
	case !hasOptions:
		return v, nil
	}
	for o := range strings.SplitSeq(options, ",") {
		switch o {
		case "ro":
			v.ReadOnly = true
		case "O":
			v.Discard = true
		case "idmap":
			v.MapOwners = true
		// as it is anyway; steps have no SELinux label of their own
		case "rw", "z", "Z", "private", "rprivate", "nosuid", "nodev":
		default:
			return v, fmt.Errorf("volume %q: option %q is not supported: use ro, rw, O or idmap", text, o)
		}
	}
	return v, nil
}

// Check finds values that can't be used. Files are not looked at.
func (o Options) Check() error {
	if _, err := o.caps(); err != nil {
		return err
	}
	if _, err := o.limits(); err != nil {
		return err
	}
	for id, s := range o.Secrets {
		if len(s) > MaxSecret {
			return fmt.Errorf("secret %q is larger than %d KiB", id, MaxSecret>>10)
		}
	}
	return o.DNS.Check()
}

// caps is nil if the usual set is wanted.
func (o Options) caps() (*executor.Caps, error) {
	if len(o.CapAdd)+len(o.CapDrop) == 0 {
		return nil, nil //nolint:nilnil // the usual set is a value
	}
	add, err := executor.ParseCaps(o.CapAdd)
	if err != nil {
		return nil, err
	}
	drop, err := executor.ParseCaps(o.CapDrop)
	caps := executor.DefaultCaps&^drop | add
	return &caps, err
}

func (o Options) limits() ([]executor.Limit, error) {
	limits := make([]executor.Limit, 0, len(o.Limits))
	for _, text := range o.Limits {
		l, err := executor.ParseLimit(text)
		if err != nil {
			return nil, err
		}
		limits = append(limits, l)
	}
	return limits, nil
}

// addTo puts into a key what decides what a step can do. How names are resolved, and what volumes hold, is the
// machine's: as with other tools a change there runs no step again.
func (o Options) addTo(k *cache.KeyBuilder) {
	k.Add("hosts", o.AddHosts...)
	if o.ShmSize != 0 {
		k.Add("shm", strconv.FormatInt(o.ShmSize, 10))
	}
	if len(o.Limits) > 0 {
		k.Add("limits", o.Limits...)
	}
	if caps, err := o.caps(); err == nil && caps != nil {
		k.Add("caps", strconv.FormatUint(uint64(*caps), 16))
	}
	if o.NoFilter || o.NoNewPrivs {
		k.Add("security", strconv.FormatBool(o.NoFilter), strconv.FormatBool(o.NoNewPrivs))
	}
	for _, v := range o.Volumes {
		k.Add("volume", v.Source, v.Target, strconv.FormatBool(v.ReadOnly), strconv.FormatBool(v.Discard),
			strconv.FormatBool(v.MapOwners))
	}
}

// apply sets a step up as the options say.
func (o Options) apply(s *executor.Step) error {
	var err error
	if s.Limits, err = o.limits(); err != nil {
		return err
	}
	s.AddHosts, s.DNS, s.ShmSize = o.AddHosts, o.DNS, o.ShmSize
	s.Security.NoFilter, s.Security.NoNewPrivs = o.NoFilter, o.NoNewPrivs
	s.Security.Caps, err = o.caps()
	return err
}

// ids lists the IDs of a map for a hint.
func ids[T any](m map[string]T) string {
	if len(m) == 0 {
		return ""
	}
	return "; given are " + strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
