package imagebuilder

import (
	"maps"
	"slices"
	"strings"
)

// A Draft is an image whose environment, labels, ports, volumes and triggers change in place, so that each of thousands
// of changes costs what it adds. It starts as the image that it is given, which stays as it was.
type Draft struct {
	Image
	// own says that the collections are nobody else's, and env is then the place of each variable in Config.Env.
	own bool
	env map[string]int
}

// Share makes the image as it is now safe to keep: the next change begins with a copy.
func (d *Draft) Share() Image {
	d.own = false
	return d.Image
}

// Held is about how many bytes of memory a copy of the collections takes, texts not included.
func (i Image) Held() int {
	const entry, pair = 16, 64
	c := i.Config
	return entry*(len(c.Env)+len(c.OnBuild)) + pair*(len(c.Labels)+len(c.ExposedPorts)+len(c.Volumes))
}

// detach makes the collections the draft's own and tells how many bytes that took.
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

// SetEnv sets a variable; one that is there already keeps its place. Like all changes it tells how many bytes had to be
// copied for it.
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
