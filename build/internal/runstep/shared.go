package runstep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/executor"
)

// Shared says what steps have in common with the host or with others, and what they are called. Its namespaces are
// "private" or empty, "host", or the path of one that exists.
type Shared struct {
	IPC, UTS, ControlGroups string
	// ShowProcesses has steps see the host's processes in /proc.
	ShowProcesses bool
	// Hostname is the host name of steps whose Dockerfile doesn't say one; empty: the usual one.
	Hostname string
	Hosts    executor.Hosts
	// AddGroups are supplementary groups of the steps' user, by name or number; KeepGroups leaves it the caller's instead.
	AddGroups  []string
	KeepGroups bool
}

// SetNamespace sets a namespace as a flag says it.
func SetNamespace(flag, text string, to *string) error {
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

// addTo adds to a cache key what a step can see of it.
func (s Shared) addTo(k *cache.KeyBuilder) {
	if s.Hostname != "" {
		k.Add("hostname", s.Hostname)
	}
	if s.Hosts.None || s.Hosts.From != "" {
		k.Add("hosts-file", fmt.Sprint(s.Hosts.None), s.Hosts.From)
	}
	if len(s.AddGroups) > 0 || s.KeepGroups {
		k.Add("groups", append([]string{fmt.Sprint(s.KeepGroups)}, s.AddGroups...)...)
	}
	if s.IPC+s.UTS+s.ControlGroups != "" || s.ShowProcesses {
		k.Add("shared", s.IPC, s.UTS, s.ControlGroups, fmt.Sprint(s.ShowProcesses))
	}
}

// apply opens what a step has in common with others. The caller calls release when the step has ended, also after an
// error.
func (s Shared) apply(to *executor.Step) (release func() error, err error) {
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
	}{{s.IPC, &to.Shared.IPC}, {s.UTS, &to.Shared.UTS}, {s.ControlGroups, &to.Shared.ControlGroups}} {
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
	to.Shared.ShowProcesses = s.ShowProcesses
	switch {
	case !to.Shared.UTS.IsOwn():
		to.Hostname = "" // the Dockerfile may have named one
	case to.Hostname == "":
		to.Hostname = s.Hostname
	}
	to.Hosts, to.KeepGroups = s.Hosts, s.KeepGroups
	to.AddGroups = append(to.AddGroups, s.AddGroups...)
	return release, nil
}
