package dialect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Global is a row of the table of options that stand before the verb.
type Global struct {
	Name, Short string
	Tools       Tools
	// Unlisted says that the tools have the option but not in their manuals.
	Unlisted bool
	// Switch says that the option needs no value.
	Switch bool
	// Flag is the flag of the verb that the option stands for; empty: none. A verb that has no such flag has no need of
	// it.
	Flag string
	// Variable is the variable of the environment that the option stands for; empty: none.
	Variable string
	// Here says that the option is one of cooper's own, which stays where it is.
	Here bool
	// Text says why an option that stands for nothing has no effect, or why it is refused.
	Text string
	// Remote options are refused unless their value is harmless: they name a machine that is to do the work.
	Remote   bool
	Harmless []string
}

const noDaemon = "cooper builds here, by itself, and not in a daemon or on another machine"

// Globals are all rows, by name.
func Globals() []Global {
	const (
		noRemote  = "nothing is asked of another machine"
		noEngine  = "it is about running containers"
		noLog     = "there is no log; --progress plain shows all that steps write"
		noManager = "RUN steps stay in the control group of the build"
	)
	return []Global{
		{Name: "cdi-spec-dir", Tools: OfPodman, Flag: "cdi-config-dir"},
		{Name: "cgroup-manager", Tools: ofContainers, Text: noManager},
		{Name: "config", Tools: OfDocker | OfPodman, Variable: "DOCKER_CONFIG"},
		{Name: "conmon", Tools: OfPodman, Text: noEngine},
		{Name: "connection", Short: "c", Tools: OfPodman, Remote: true, Text: noDaemon},
		{Name: "context", Short: "c", Tools: OfDocker, Remote: true, Harmless: []string{"default"}, Text: noDaemon},
		{Name: "cpu-profile", Tools: ofContainers, Unlisted: true, Text: "no profile is written"},
		{Name: "debug", Short: "D", Tools: OfDocker, Switch: true, Text: noLog},
		{Name: "debug", Tools: OfBuildah, Unlisted: true, Switch: true, Text: noLog},
		{Name: "default-mounts-file", Tools: ofContainers, Unlisted: true,
			Text: "RUN steps see no subscriptions of the host"},
		{Name: "events-backend", Tools: OfPodman, Text: noEngine},
		{Name: "help", Short: "h", Tools: ofContainers, Switch: true, Here: true},
		{Name: "hooks-dir", Tools: OfPodman, Flag: "hooks-dir"},
		{Name: "host", Short: "H", Tools: OfDocker, Variable: "DOCKER_HOST"},
		{Name: "identity", Tools: OfPodman, Text: noRemote},
		{Name: "imagestore", Tools: ofContainers, Flag: "storage-opt",
			Text: "an image store in two directories"},
		{Name: "log-level", Tools: ofContainers, Text: noLog},
		{Name: "log-level", Short: "l", Tools: OfDocker, Text: noLog},
		{Name: "memory-profile", Tools: ofContainers, Unlisted: true, Text: "no profile is written"},
		{Name: "module", Tools: OfPodman, Text: noEngine},
		{Name: "network-config-dir", Tools: OfPodman, Text: noEngine},
		{Name: "out", Tools: OfPodman, Remote: true, Text: "standard output goes where the shell sends it: > FILE"},
		{Name: "registries-conf", Tools: OfBuildah, Variable: "CONTAINERS_REGISTRIES_CONF"},
		{Name: "registries-conf-dir", Tools: OfBuildah, Variable: "COOPER_REGISTRIES_CONF_DIR"},
		{Name: "remote", Short: "r", Tools: OfPodman, Switch: true, Remote: true, Harmless: []string{"false"},
			Text: noDaemon},
		{Name: "root", Tools: ofContainers, Flag: "root"},
		{Name: "runroot", Tools: ofContainers, Flag: "runroot"},
		{Name: "runtime", Tools: OfPodman,
			Text: "cooper runs the steps itself; build --runtime gives them to an OCI runtime"},
		{Name: "runtime-flag", Tools: OfPodman, Text: "the runtime is called without further flags"},
		{Name: "short-name-alias-conf", Tools: OfBuildah, Variable: "COOPER_SHORT_NAME_ALIASES"},
		{Name: "ssh", Tools: OfPodman, Text: noRemote},
		{Name: "storage-driver", Tools: ofContainers, Flag: "storage-driver"},
		{Name: "storage-opt", Tools: ofContainers, Flag: "storage-opt"},
		{Name: "syslog", Tools: OfPodman, Switch: true, Text: noLog},
		{Name: "tls", Tools: OfDocker, Switch: true, Text: noRemote},
		{Name: "tls-ca", Tools: OfPodman, Text: noRemote},
		{Name: "tls-cert", Tools: OfPodman, Text: noRemote},
		{Name: "tls-details", Tools: OfPodman, Text: noRemote},
		{Name: "tls-key", Tools: OfPodman, Text: noRemote},
		{Name: "tlscacert", Tools: OfDocker, Text: noRemote},
		{Name: "tlscert", Tools: OfDocker, Text: noRemote},
		{Name: "tlskey", Tools: OfDocker, Text: noRemote},
		{Name: "tlsverify", Tools: OfDocker, Switch: true, Text: noRemote},
		{Name: "tmpdir", Tools: OfPodman, Text: noEngine},
		{Name: "transient-store", Tools: ofContainers, Switch: true, Text: "what the store writes stays"},
		{Name: "url", Tools: OfPodman, Remote: true, Text: noDaemon},
		{Name: "userns-gid-map", Tools: OfBuildah, Flag: "userns-gid-map"},
		{Name: "userns-uid-map", Tools: OfBuildah, Flag: "userns-uid-map"},
		{Name: "version", Short: "v", Tools: OfPodman | OfBuildah, Switch: true, Here: true},
		{Name: "volumepath", Tools: OfPodman, Text: "there are no named volumes"},
	}
}

// A Line is a command line without the options before the verb.
type Line struct {
	// Words are the verb and what follows it.
	Words []string
	// Flags are the flags of the verb that the options stand for, as NAME=VALUE.
	Flags []string
	// Variables are the variables of the environment that the options stand for, as NAME=VALUE.
	Variables []string
}

// Split takes the options of other tools that stand before the verb out of a command line. What it doesn't know it
// leaves where it is, with all that follows.
func Split(args []string) (Line, error) {
	var line Line
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" && args[0] != "--" {
		name, value, given := strings.Cut(args[0], "=")
		row, ok := global(name)
		if !ok || row.Here {
			break
		}
		args = args[1:]
		switch {
		case given && row.Switch:
			is, err := strconv.ParseBool(value)
			if err != nil {
				return line, fmt.Errorf("%s=%s: must be true or false", name, value)
			}
			value = strconv.FormatBool(is)
		case row.Switch:
			value = "true"
		case !given && len(args) == 0:
			return line, fmt.Errorf("%s needs a value", name)
		case !given:
			value, args = args[0], args[1:]
		}
		if err := line.take(row, name, value); err != nil {
			return line, err
		}
	}
	line.Words = args
	return line, nil
}

// take notes what an option stands for.
func (l *Line) take(row Global, written, value string) error {
	switch {
	case row.Remote && !slices.Contains(row.Harmless, value):
		return fmt.Errorf("%s is not supported: %s\nhint: leave it out", written, row.Text)
	case row.Name == "imagestore":
		l.Flags = append(l.Flags, "--storage-opt=overlay.imagestore="+value)
	case row.Flag != "":
		l.Flags = append(l.Flags, "--"+row.Flag+"="+value)
	case row.Variable != "":
		l.Variables = append(l.Variables, row.Variable+"="+value)
	}
	return nil
}

// global finds the row of an option as it is written. Where tools differ, as with -c, the first row counts; both
// refuse what can't be done.
func global(written string) (Global, bool) {
	rows := Globals()
	n := slices.IndexFunc(rows, func(g Global) bool {
		return written == "--"+g.Name || g.Short != "" && written == "-"+g.Short
	})
	if n < 0 {
		return Global{}, false
	}
	return rows[n], true
}
