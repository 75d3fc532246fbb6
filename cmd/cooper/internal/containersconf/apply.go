package containersconf

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Environ are the variables, NAME=VALUE, that the process is to have unless it has them.
func (c Conf) Environ() []string { return c.Engine.Env }

// Apply gives the flags of a verb what the files say where the command line doesn't. Flags of another verb than
// those that buildah has defaults for stay as they are.
func (c Conf) Apply(verb string, f *pflag.FlagSet) error {
	if !slices.Contains([]string{"build", "from", "pull", "push"}, verb) {
		return nil
	}
	c.addTo(f)
	single := map[string]string{"shm-size": c.Containers.ShmSize, "retry-delay": c.Engine.RetryDelay}
	if c.Engine.Retry != nil {
		single["retry"] = fmt.Sprint(*c.Engine.Retry)
	}
	if c.Engine.Compression != "gzip" { // which is usual
		single["compression-format"] = c.Engine.Compression
	}
	if flag := f.Lookup("isolation"); flag != nil && flag.Value.String() == "oci" {
		single["runtime"] = c.runtime()
	}
	for name, text := range single {
		flag := f.Lookup(name)
		if flag == nil || flag.Changed || isForeign(flag) || text == "" {
			continue
		}
		if err := flag.Value.Set(text); err != nil {
			return fmt.Errorf("containers.conf: --%s=%s: %w", name, text, err)
		}
	}
	return nil
}

// isForeign tells whether a flag has no meaning here: nobody has given it, and nothing is to be said about it.
func isForeign(flag *pflag.Flag) bool {
	_, is := flag.Value.(interface{ Foreign() })
	return is
}

// addTo gives flags that take several values those of the files.
func (c Conf) addTo(f *pflag.FlagSet) {
	box := c.Containers
	values := func(name string) pflag.SliceValue {
		flag := f.Lookup(name)
		if flag == nil {
			return nil
		}
		v, _ := flag.Value.(pflag.SliceValue)
		return v
	}
	// before are those that a value on the command line stands beside; the last one for a name counts.
	before := map[string][]string{"ulimit": box.Limits, "device": box.Devices, "volume": box.Volumes}
	for name, texts := range before {
		if v := values(name); v != nil && len(texts) > 0 {
			_ = v.Replace(slices.Concat(texts, v.GetSlice())) // texts are no error for these
		}
	}
	instead := map[string][]string{"dns": box.DNS, "dns-search": box.DNSSearch, "dns-option": box.DNSOptions,
		"cdi-config-dir": c.Engine.CDIDirs}
	for name, texts := range instead {
		if v := values(name); v != nil && len(texts) > 0 && len(v.GetSlice()) == 0 {
			_ = v.Replace(texts)
		}
	}
	if v := values("security-opt"); v != nil && box.Seccomp != "" && !slices.ContainsFunc(v.GetSlice(), isSeccomp) {
		_ = v.Append("seccomp=" + box.Seccomp)
	}
	if add, drop := values("cap-add"), values("cap-drop"); add != nil && drop != nil && len(box.Capabilities) > 0 {
		c.limit(add, drop)
	}
}

func isSeccomp(text string) bool { return strings.HasPrefix(text, "seccomp") }

// limit has commands begin with the capabilities of the files; what the command line adds and drops it adds to these
// and drops of them.
func (c Conf) limit(add, drop pflag.SliceValue) {
	given, dropped := add.GetSlice(), drop.GetSlice()
	all := func(text string) bool { return strings.EqualFold(text, "all") }
	if slices.ContainsFunc(slices.Concat(given, dropped), all) {
		return
	}
	caps := slices.DeleteFunc(slices.Clone(c.Containers.Capabilities), func(have string) bool {
		return slices.ContainsFunc(dropped, func(gone string) bool { return bare(gone) == bare(have) })
	})
	_ = add.Replace(slices.Concat(caps, given))
	_ = drop.Replace([]string{"ALL"})
}

// bare is the name of a capability without CAP_, in upper case.
func bare(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// runtime is the OCI runtime: the first program of its name that there is, or the name.
func (c Conf) runtime() string {
	for _, path := range c.Engine.Runtimes[c.Engine.Runtime] {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return c.Engine.Runtime
}
