package imagebuilder

import (
	"maps"
	"slices"
	"strings"
)

// A Draft is an image whose environment, labels, ports, volumes and triggers change in place, so that a change costs
// time for what it adds, not for what is there, even in a Dockerfile of thousands of instructions. It starts as a copy
// of Image; the image that was given is never changed.
type Draft struct {
	Image
	// own tells that no other image shares the maps and slices of Config, so that they may change in place. The first
	// change after Share (or of a new Draft) copies them and sets it.
	own bool
	// env holds the index in Config.Env of each variable, by name; it is valid while own is true.
	env map[string]int
}

// Share gives the image as it is now, which the caller may keep: the draft's next change copies the maps and slices
// first.
func (d *Draft) Share() Image {
	d.own = false
	return d.Image
}

// Held estimates how many bytes of memory a copy of the image's maps and slices takes, the strings in them not counted.
func (i Image) Held() int {
	const entry, pair = 16, 64
	c := i.Config
	return entry*(len(c.Env)+len(c.OnBuild)) + pair*(len(c.Labels)+len(c.ExposedPorts)+len(c.Volumes))
}

// detach copies the maps and slices of Config if another image shares them, and tells how many bytes that took.
func (d *Draft) detach() (copied int) {
	if d.own {
		return 0
	}
	c := &d.Config
	c.Env, c.OnBuild = slices.Clone(c.Env), slices.Clone(c.OnBuild)
	c.Labels, c.ExposedPorts, c.Volumes = maps.Clone(c.Labels), maps.Clone(c.ExposedPorts), maps.Clone(c.Volumes)
	d.env = make(map[string]int, len(c.Env))
	for n, entry := range slices.Backward(c.Env) {
		name, _, _ := strings.Cut(entry, "=")
		d.env[name] = n // the first of a name counts
	}
	d.own = true
	return d.Held()
}

// SetEnv sets a variable of the environment; a variable that exists keeps its place in the order. Like all changes of a
// draft it tells how many bytes of shared maps and slices it had to copy.
func (d *Draft) SetEnv(key, value string) (copied int) {
	copied = d.detach()
	entry := key + "=" + value
	if n, ok := d.env[key]; ok {
		d.Config.Env[n] = entry
		return copied
	}
	d.env[key] = len(d.Config.Env)
	d.Config.Env = append(d.Config.Env, entry)
	return copied
}

// SetLabel sets a label.
func (d *Draft) SetLabel(key, value string) (copied int) {
	copied = d.detach()
	if d.Config.Labels == nil {
		d.Config.Labels = map[string]string{}
	}
	d.Config.Labels[key] = value
	return copied
}

// ExposePorts adds "PORT/PROTOCOL" keys, as [ParsePorts] gives them.
func (d *Draft) ExposePorts(ports ...string) (copied int) {
	copied = d.detach()
	d.Config.ExposedPorts = withKeys(d.Config.ExposedPorts, ports)
	return copied
}

// AddVolumes adds volume paths.
func (d *Draft) AddVolumes(paths ...string) (copied int) {
	copied = d.detach()
	d.Config.Volumes = withKeys(d.Config.Volumes, paths)
	return copied
}

// AddOnBuild adds an instruction for builds on top of the image.
func (d *Draft) AddOnBuild(instruction string) (copied int) {
	copied = d.detach()
	d.Config.OnBuild = append(d.Config.OnBuild, instruction)
	return copied
}

func withKeys(set map[string]struct{}, keys []string) map[string]struct{} {
	if set == nil && len(keys) > 0 {
		set = make(map[string]struct{}, len(keys))
	}
	for _, key := range keys {
		set[key] = struct{}{}
	}
	return set
}
