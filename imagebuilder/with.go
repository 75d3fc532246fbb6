package imagebuilder

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// DefaultPath is the PATH of an image that doesn't set one.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Clone gives a deep copy, which shares no map, slice or pointer with i.
func (i Image) Clone() Image {
	c := i
	c.Platform.OSFeatures = slices.Clone(i.Platform.OSFeatures)
	c.Config.ExposedPorts = maps.Clone(i.Config.ExposedPorts)
	c.Config.Env = slices.Clone(i.Config.Env)
	c.Config.Entrypoint = slices.Clone(i.Config.Entrypoint)
	c.Config.Cmd = slices.Clone(i.Config.Cmd)
	c.Config.Volumes = maps.Clone(i.Config.Volumes)
	c.Config.Labels = maps.Clone(i.Config.Labels)
	c.Config.OnBuild = slices.Clone(i.Config.OnBuild)
	c.Config.Shell = slices.Clone(i.Config.Shell)
	if i.Config.StopTimeout != nil {
		seconds := *i.Config.StopTimeout
		c.Config.StopTimeout = &seconds
	}

	if i.Config.Healthcheck != nil {
		h := *i.Config.Healthcheck
		h.Test = slices.Clone(h.Test)
		c.Config.Healthcheck = &h
	}

	c.DiffIDs = slices.Clone(i.DiffIDs)
	c.History = slices.Clone(i.History)
	if i.Created != nil {
		created := *i.Created
		c.Created = &created
	}

	return c
}

// Env looks up a variable of the image's environment.
func (i Image) Env(key string) (value string, ok bool) {
	for _, entry := range i.Config.Env {
		if k, v, _ := strings.Cut(entry, "="); k == key {
			return v, true
		}
	}
	return "", false
}

// Shell gives the program and arguments that run a command in shell form: the config's, or /bin/sh -c.
func (i Image) Shell() []string {
	if len(i.Config.Shell) > 0 {
		return slices.Clone(i.Config.Shell)
	}
	return []string{"/bin/sh", "-c"}
}

// Dir is the working directory: absolute and clean.
func (i Image) Dir() string {
	return path.Join("/", i.Config.WorkingDir)
}

// WithLabels adds labels; a later value replaces an earlier one.
func (i Image) WithLabels(labels map[string]string) Image {
	if len(labels) == 0 {
		return i
	}
	merged := make(map[string]string, len(i.Config.Labels)+len(labels))
	maps.Copy(merged, i.Config.Labels)
	maps.Copy(merged, labels)
	i.Config.Labels = merged
	return i
}

// WithoutLabels drops labels; the image needn't have them.
func (i Image) WithoutLabels(keys []string) Image {
	if len(keys) == 0 || len(i.Config.Labels) == 0 {
		return i
	}
	i.Config.Labels = maps.Clone(i.Config.Labels)
	for _, key := range keys {
		delete(i.Config.Labels, key)
	}
	return i
}

// WithoutEnv drops variables of the environment; the image needn't have them.
func (i Image) WithoutEnv(names []string) Image {
	if len(names) == 0 {
		return i
	}
	i.Config.Env = slices.DeleteFunc(slices.Clone(i.Config.Env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(names, name)
	})
	return i
}

// WithCmd sets CMD: the default arguments of the entrypoint, or the default command if there is no entrypoint.
func (i Image) WithCmd(args []string) Image {
	i.Config.Cmd = slices.Clone(args)
	return i
}

// WithEntrypoint sets ENTRYPOINT. It leaves CMD alone: whether ENTRYPOINT resets CMD depends on whether the stage or
// its base image set CMD, which only the caller knows.
func (i Image) WithEntrypoint(args []string) Image {
	i.Config.Entrypoint = slices.Clone(args)
	return i
}

// WithUser sets the user of later steps and of containers.
func (i Image) WithUser(user string) Image {
	i.Config.User = user
	return i
}

// WithWorkdir changes the working directory; a relative path starts from the one before.
func (i Image) WithWorkdir(dir string) Image {
	if !path.IsAbs(dir) {
		dir = path.Join(i.Dir(), dir)
	}
	i.Config.WorkingDir = path.Clean(dir)
	return i
}

// WithStopSignal sets the signal that stops a container. [CheckSignal] says whether it is one.
func (i Image) WithStopSignal(signal string) Image {
	i.Config.StopSignal = signal
	return i
}

// WithHealthcheck replaces the whole health check.
func (i Image) WithHealthcheck(h Healthcheck) Image {
	h.Test = slices.Clone(h.Test)
	i.Config.Healthcheck = &h
	return i
}

// WithShell sets the program and arguments that run commands in shell form.
func (i Image) WithShell(shell []string) Image {
	i.Config.Shell = slices.Clone(shell)
	return i
}

// WithoutOnBuild drops all ONBUILD instructions: the first build on top of the image runs them, later ones don't.
func (i Image) WithoutOnBuild() Image {
	i.Config.OnBuild = nil
	return i
}

// WithAuthor sets the author.
func (i Image) WithAuthor(author string) Image {
	i.Author = author
	return i
}
