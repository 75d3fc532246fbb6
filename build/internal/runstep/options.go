package runstep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/confine"
	"github.com/cooperbuild/cooper/build/internal/lent"
	"github.com/cooperbuild/cooper/build/internal/loglimit"
	"github.com/cooperbuild/cooper/build/internal/stepnet"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/step"
)

// MaxSecret is the largest secret in bytes.
const MaxSecret = 500 << 10

// DNS holds settings for the /etc/resolv.conf of RUN steps, which replace the host's.
type DNS = executor.DNS

// Options are the options of all RUN steps of a build.
type Options struct {
	stepnet.Options
	// AddHosts are "name:address" lines for /etc/hosts.
	AddHosts []string
	DNS      DNS
	// ShmSize is the size of /dev/shm in bytes; 0 is 64 MiB.
	ShmSize int64
	// Limits are "name=soft[:hard]".
	Limits []string
	// Lent is what the steps are lent of the host.
	Lent lent.Options
	// Resources are limits of all processes of a step together. StepTimeout is how long a step may take; 0: as long as it
	// takes. They are in no cache key: they decide whether a step succeeds, and not what comes of it.
	Resources   Resources
	StepTimeout time.Duration
	// LogLimit says how much of a step's output is shown.
	LogLimit loglimit.Limit
	// CapAdd and CapDrop change the default set of capabilities; a capability in both is added.
	CapAdd, CapDrop []string
	confine.Confinement
	// Insecure allows RUN --security=insecure.
	Insecure bool
	// Proxies are proxy variables by name; see plan.Options.
	Proxies map[string]string
	// ReadDirs are the directories below which ADD may read git repositories by file://.
	ReadDirs []string
	// Runtime is the OCI runtime that runs the steps; nil: cooper's own executor does. It is in no cache key, since a step
	// can do the same in either.
	Runtime *Runtime
	// KeepBundle is a directory in which the bundle for the Runtime is kept, under the number of each step that is run;
	// empty: none is kept.
	KeepBundle string
	// Volumes are mounted in every step.
	Volumes []Volume
	// Secrets are the secrets by ID, for the steps that mount them and as credentials of ADD. They are in memory only.
	Secrets map[string]Secret
	// SecretCommands fetch secrets by ID, each time a step that mounts one starts. They are for steps only.
	SecretCommands map[string]func(context.Context) (Secret, error)
	// Agents are, by ID, the socket of an SSH agent or the paths of private keys, for ssh mounts and, under the ID
	// "default", for git.
	Agents map[string][]string
}

// A Secret is the content of a secret, at most MaxSecret bytes. It must never be printed.
type Secret []byte

// String gives a fixed text, so that the secret isn't printed by accident.
func (Secret) String() string { return "[secret]" }

// GoString does the same for %#v.
func (Secret) GoString() string { return "[secret]" }

// SecretValues are the values that no other machine may get.
func (o Options) SecretValues() (all [][]byte) {
	for _, secret := range o.Secrets {
		all = append(all, secret)
	}
	return all
}

// A Volume is a directory or file of the host that every RUN step sees.
type Volume struct {
	// Source is on the host, Target in the step; both are absolute.
	Source, Target string
	ReadOnly       bool
	// Discard throws away the files that a step writes.
	Discard bool
	// MapOwners maps each host ID to the same container ID in this volume, so that files of the host's root are the step
	// root's, and files that the step's root writes are the host root's. Only real root may ask for it.
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
		// These ask for the default, or for an SELinux label, which steps don't have.
		case "rw", "z", "Z", "private", "rprivate", "nosuid", "nodev":
		default:
			return v, fmt.Errorf("volume %q: option %q is not supported: use ro, rw, O or idmap", text, o)
		}
	}

	return v, nil
}

// Check refuses values that can't be used. It doesn't look at files.
func (o Options) Check() error {
	caps, err := o.caps()
	if err != nil {
		return err
	}
	if _, err := o.Filter(caps); err != nil {
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
	for flag, list := range map[string]string{"--cpuset-cpus": o.Resources.CPUs, "--cpuset-mems": o.Resources.Nodes} {
		if list == "" {
			continue
		}
		if _, err := step.ParseCPUs(list); err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
	}
	return errors.Join(o.Lent.Check(), o.DNS.Check())
}

// caps gives the capabilities of a step; nil: the default set.
func (o Options) caps() (*executor.Caps, error) {
	if len(o.CapAdd)+len(o.CapDrop) == 0 {
		return nil, nil //nolint:nilnil // nil means the default set
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

// addTo adds to a cache key the options that decide what a step can do. DNS settings and the content of volumes are
// left out: as in other tools, a change of these doesn't run a step again.
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
	if o.Profile != nil || o.AppArmor != "" || o.SELinux != "" {
		k.Add("confinement", string(o.Profile), o.AppArmor, o.SELinux)
	}
	o.Lent.AddTo(k)
	for _, v := range o.Volumes {
		k.Add("volume", v.Source, v.Target, strconv.FormatBool(v.ReadOnly), strconv.FormatBool(v.Discard),
			strconv.FormatBool(v.MapOwners))
	}
}

// apply sets the fields of a step that the options determine.
func (o Options) apply(s *executor.Step) error {
	var err error
	if s.Limits, err = o.limits(); err != nil {
		return err
	}
	s.Resources = o.Resources
	s.AddHosts, s.DNS, s.ShmSize = o.AddHosts, o.DNS, o.ShmSize
	s.Security.NoFilter, s.Security.NoNewPrivs = o.NoFilter, o.NoNewPrivs
	s.Security.AppArmor, s.Security.SELinux = o.AppArmor, o.SELinux
	s.Security.Caps, err = o.caps()
	return err
}

// allSecrets are the IDs of all secrets.
func (o Options) allSecrets() map[string]bool {
	all := map[string]bool{}
	for id := range o.Secrets {
		all[id] = true
	}
	for id := range o.SecretCommands {
		all[id] = true
	}
	return all
}

// ids lists the IDs of a map for a hint.
func ids[T any](m map[string]T) string {
	if len(m) == 0 {
		return ""
	}
	return "; given are " + strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}
