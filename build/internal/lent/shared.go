package lent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/devices"
	"github.com/cooperbuild/cooper/executor"
)

// Options say what steps are lent, and what they are called. The namespaces are "" for one of the step's own, "host",
// or the path of one that exists.
type Options struct {
	// Devices are those that all steps get, as paths or names of CDI files, which lie in DeviceDirs; none: the usual
	// directories.
	Devices, DeviceDirs []string
	// AllowDevices are the devices that a Dockerfile may name; AllowAllDevices are all.
	AllowDevices    []string
	AllowAllDevices bool

	IPC, UTS, ControlGroups string
	// ShowProcesses has steps see the host's processes in /proc.
	ShowProcesses bool
	// Hostname is the host name of steps whose Dockerfile doesn't say one; empty: the usual one.
	Hostname string
	Hosts    executor.Hosts
	// AddGroups are supplementary groups of the steps' user, by name or number; KeepGroups leaves it the caller's instead.
	AddGroups  []string
	KeepGroups bool
	// HookDirs are directories with files of oci-hooks(5); with a hook of theirs, an OCI runtime runs the step. HostDirs
	// says that steps see directories of the host, which is a condition of hooks.
	HookDirs []string
	HostDirs bool
}

// SetNamespace sets a namespace as a flag says it.
func (o *Options) SetNamespace(flag, text string, to *string) error {
	path := strings.TrimPrefix(text, "ns:")
	switch {
	case text == "", text == "private", text == "container":
		*to = ""
	case text == "host":
		*to = text
	case filepath.IsAbs(path):
		*to = path
	default:
		return fmt.Errorf("%s=%s: must be private, host or the path of a namespace", flag, text)
	}
	return nil
}

// Check refuses names of no device. It looks for none.
func (o Options) Check() error {
	for _, text := range o.Devices {
		if err := devices.CheckName(text); err != nil {
			return fmt.Errorf("--device: %w", err)
		}
	}
	return nil
}

// AddTo adds to a cache key what a step can see of it.
func (o Options) AddTo(k *cache.KeyBuilder) {
	if o.Hostname != "" {
		k.Add("hostname", o.Hostname)
	}
	if o.Hosts.None || o.Hosts.From != "" {
		k.Add("hosts-file", fmt.Sprint(o.Hosts.None), o.Hosts.From)
	}
	if len(o.AddGroups) > 0 || o.KeepGroups {
		k.Add("groups", append([]string{fmt.Sprint(o.KeepGroups)}, o.AddGroups...)...)
	}
	if len(o.HookDirs) > 0 {
		k.Add("hooks", o.HookDirs...)
	}
	if len(o.Devices) > 0 {
		k.Add("devices", o.Devices...)
	}
	if o.IPC+o.UTS+o.ControlGroups != "" || o.ShowProcesses {
		k.Add("shared", o.IPC, o.UTS, o.ControlGroups, fmt.Sprint(o.ShowProcesses))
	}
}

// apply opens what a step has in common with others. The caller calls release when the step has ended, also after an
// error.
func (o Options) share(to *executor.Step) (release func() error, err error) {
	var files []*os.File
	release = func() error {
		var errs []error
		for _, f := range files {
			errs = append(errs, f.Close())
		}
		return errors.Join(errs...)
	}
	for _, ns := range []struct {
		text string
		to   *executor.Namespace
	}{{o.IPC, &to.Shared.IPC}, {o.UTS, &to.Shared.UTS}, {o.ControlGroups, &to.Shared.ControlGroups}} {
		switch ns.text {
		case "":
		case "host":
			ns.to.Host = true
		default:
			if ns.to.File, err = os.Open(ns.text); err != nil {
				return release, err
			}
			files = append(files, ns.to.File)
		}
	}
	to.Shared.ShowProcesses = o.ShowProcesses
	switch {
	case !to.Shared.UTS.IsOwn():
		to.Hostname = "" // the Dockerfile may have named one
	case to.Hostname == "":
		to.Hostname = o.Hostname
	}
	to.Hosts, to.KeepGroups = o.Hosts, o.KeepGroups
	to.AddGroups = append(to.AddGroups, o.AddGroups...)
	return release, nil
}
