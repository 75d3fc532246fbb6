package stepflags

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
)

// Shared are the flags about what commands have in common with the host, as they are written.
type Shared struct {
	IPC, PID, UTS, CgroupNS string
	Hostname, hostsFile     string
	noHosts, noHostname     bool
	groups, hookDirs        []string
}

// register adds the flags, which are about whose commands.
func (s *Shared) register(f *pflag.FlagSet, whose string) {
	if whose == "the command" { // docker run and podman run have a short name for it, which is help's with all others
		f.StringVarP(&s.Hostname, "hostname", "h", "", "host name that the command sees (default cooper)")
	} else {
		f.StringVar(&s.Hostname, "hostname", "", "host name that "+whose+" see (default cooper)")
	}
	f.BoolVar(&s.noHosts, "no-hosts", false, "leave "+whose+" the image's /etc/hosts")
	f.BoolVar(&s.noHostname, "no-hostname", false, "leave "+whose+" the image's /etc/hostname, as it always is")
	f.Lookup("no-hostname").Hidden = true
	f.StringVar(&s.hostsFile, "hosts-file", "",
		"file whose lines begin /etc/hosts of "+whose+": a path, image for the image's own, or none")
	f.StringVar(&s.IPC, "ipc", "", "IPC namespace of "+whose+": private, host or a path (default private)")
	f.StringVar(&s.UTS, "uts", "", "UTS namespace, which has the host name, of "+whose+": private, host or a path "+
		"(default private)")
	f.StringVar(&s.CgroupNS, "cgroupns", "", "control group namespace of "+whose+": private, host or a path "+
		"(default private)")
	f.StringVar(&s.PID, "pid", "",
		"processes that "+whose+" see in /proc: private, or host, to which signals don't reach (default private)")
	f.StringArrayVar(&s.groups, "group-add", nil,
		"supplementary group of the user of "+whose+", by name or number, or keep-groups for those of who builds")
	f.StringArrayVar(&s.hookDirs, "hooks-dir", nil,
		"directory with oci-hooks(5) for "+whose+
			", which an OCI runtime runs then; a file of a later one replaces its namesake")
}

// KeepsGroups says that the commands have the groups of who builds, which the process in the namespace must keep, too.
func (r *Run) KeepsGroups() bool { return slices.Contains(r.Shared.groups, keepGroups) }

const keepGroups = "keep-groups"

// share sets what the commands have in common with the host.
func (r *Run) share(o *build.RunOptions) error {
	s, to := r.Shared, &o.Lent
	for _, ns := range []struct {
		flag, text string
		to         *string
	}{{"--ipc", s.IPC, &to.IPC}, {"--uts", s.UTS, &to.UTS}, {"--cgroupns", s.CgroupNS, &to.ControlGroups}} {
		if err := to.SetNamespace(ns.flag, ns.text, ns.to); err != nil {
			return err
		}
	}
	switch s.PID {
	case "", "private", "container":
	case "host":
		to.ShowProcesses = true
	default:
		return fmt.Errorf("--pid=%s: must be private or host: the commands' processes end with their own namespace", s.PID)
	}
	to.Hostname = s.Hostname
	if s.Hostname != "" && to.UTS != "" {
		return fmt.Errorf("--hostname=%s and --uts=%s exclude each other: the host name is that namespace's", s.Hostname,
			s.UTS)
	}
	if err := r.hosts(o); err != nil {
		return err
	}
	for _, dir := range s.hookDirs {
		if dir == "" {
			continue
		}
		path, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("--hooks-dir=%s: %w", dir, err)
		}
		to.HookDirs = append(to.HookDirs, path)
	}
	to.HostDirs = len(to.HookDirs) > 0 && len(r.Volumes) > 0
	to.KeepGroups = r.KeepsGroups()
	for _, name := range s.groups {
		switch {
		case name == "":
			return errors.New("--group-add: must be a group, or keep-groups")
		case name != keepGroups:
			to.AddGroups = append(to.AddGroups, name)
		}
	}
	if to.KeepGroups && len(to.AddGroups) > 0 {
		return errors.New("--group-add=keep-groups can't be used with other groups")
	}
	return nil
}

// hosts sets what /etc/hosts has.
func (r *Run) hosts(o *build.RunOptions) error {
	s, to := r.Shared, &o.Lent.Hosts
	to.None = s.noHosts
	if s.noHosts && len(r.AddHosts) > 0 {
		return errors.New("--no-hosts and --add-host exclude each other")
	}
	switch s.hostsFile {
	case "", "image", "none":
		to.From = s.hostsFile
	default:
		path, err := filepath.Abs(s.hostsFile)
		if err != nil {
			return fmt.Errorf("--hosts-file=%s: %w", s.hostsFile, err)
		}
		to.From = path
	}
	if s.noHosts && s.hostsFile != "" {
		return fmt.Errorf("--no-hosts and --hosts-file=%s exclude each other", s.hostsFile)
	}
	return nil
}
