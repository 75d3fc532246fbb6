package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const (
	// scriptDir is where heredoc scripts with a #! line are shown to their step.
	scriptDir  = "/dev/pipes"
	scriptMode = 0o755
	// hostnameArg is the build argument for the host name of RUN steps.
	hostnameArg = "BUILDKIT_SANDBOX_HOSTNAME"
)

// running is the planning of RUN.
type running struct {
	expanding
}

// run plans RUN.
func (x running) run(c *instructions.RunCommand) error {
	if err := x.checkRunFlags(c); err != nil {
		return err
	}
	platform := x.stage.madeFor()
	if err := x.aim.checkExecutable(platform); err != nil {
		return err
	}

	args, files, err := x.runArgs(c)
	if err != nil {
		return err
	}

	mounts, err := x.mounts(c)
	if err != nil {
		return err
	}
	if hideSecrets(c, x.stage.env) != x.stage.env {
		x.text = x.show() // shown again: hideSecrets has changed the variables
	}

	env, err := x.runEnv()
	if err != nil {
		return err
	}

	op := &Run{
		Args: args, Files: files, Mounts: mounts, Platform: platform,
		Env: withAgent(env, mounts), ProxyEnv: x.proxyEnv(),
		Cwd: x.stage.image.Dir(), User: x.stage.image.Config.User,
		Network: instructions.GetNetwork(c), Insecure: instructions.GetSecurity(c) == instructions.SecurityInsecure,
	}

	for _, d := range instructions.GetDevices(c) {
		op.Devices = append(op.Devices, Device(*d))
	}
	op.Hostname, _ = x.args.given(hostnameArg)
	createdBy := "RUN " + x.withArgs(args)
	x.step(op, createdBy, true)
	return x.budget.hold(len(createdBy))
}

func (x running) checkRunFlags(c *instructions.RunCommand) error {
	if instructions.GetSecurity(c) == instructions.SecurityInsecure && !x.opts.Insecure {
		return &hinted{"RUN --security=insecure is not allowed by this build",
			"give --allow security.insecure, or leave --security out"}
	}
	if instructions.GetNetwork(c) == instructions.NetworkHost && !x.opts.HostNetwork {
		return &hinted{"RUN --network=host is not allowed by this build",
			"give --allow network.host or --network=host, or leave --network out"}
	}
	for _, d := range instructions.GetDevices(c) {
		class, _, _ := strings.Cut(d.Name, "=")
		if !x.opts.AllDevices && !slices.Contains(x.opts.Devices, d.Name) && !slices.Contains(x.opts.Devices, class) {
			return &hinted{"RUN --device=" + d.Name + " is not allowed by this build",
				"give --allow device=" + d.Name + ", or leave --device out"}
		}
	}
	return nil
}

// runArgs gives the argument vector of RUN. A heredoc that is the whole command is run by the shell, or as a program if
// it has a #! line; files holds it then. Any other heredoc is part of the command that the shell gets.
func (x running) runArgs(c *instructions.RunCommand) (args []string, files []InlineFile, err error) {
	args = c.CmdLine
	if len(c.Files) > 0 {
		if len(args) != 1 || !c.PrependShell {
			return nil, nil, &hinted{"a heredoc can't be used with the exec form", "write RUN <<EOF or RUN COMMAND <<EOF"}
		}
		if parser.MustParseHeredoc(args[0]) != nil {
			script, name := c.Files[0].Data, c.Files[0].Name
			if c.Files[0].Chomp {
				script = parser.ChompHeredocContent(script)
			}
			if strings.HasPrefix(script, "#!") {
				if err := checkFileName(name); err != nil {
					return nil, nil, err
				}
				file := InlineFile{Path: path.Join(scriptDir, name), Mode: scriptMode, Data: []byte(script)}
				return append(x.stage.image.Shell(), file.Path), []InlineFile{file}, nil
			}
			args = []string{script}
		} else {
			args = []string{withHeredocs(args[0], c.Files)}
		}
	}

	if c.PrependShell {
		return append(x.stage.image.Shell(), strings.Join(args, " ")), nil, nil
	}
	if len(args) == 0 {
		return nil, nil, &hinted{"RUN [] has no command", `usage: RUN ["PROGRAM","ARGUMENT"...] or RUN COMMAND`}
	}

	return args, nil, nil
}

func withHeredocs(command string, files []instructions.ShellInlineFile) string {
	var b strings.Builder
	b.WriteString(command)
	for _, f := range files {
		b.WriteString("\n" + f.Data + f.Name)
	}
	return b.String()
}

// checkFileName refuses a heredoc name that would lead out of scriptDir.
func checkFileName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return &hinted{fmt.Sprintf("the heredoc name %q is not a plain file name", name),
			"use letters and digits, such as <<EOF"}
	}
	return nil
}

// runEnv gives the image's environment with the current values, then the build arguments. Steps between which no
// variable was set share one slice.
func (x running) runEnv() ([]string, error) {
	st := x.stage
	if st.runEnv != nil && st.runEnvSets == st.env.sets {
		return st.runEnv, nil
	}
	st.runEnv, st.runEnvSets = slices.Clip(x.newRunEnv()), st.env.sets
	return st.runEnv, x.budget.hold(stringBytes * len(st.runEnv))
}

func (x running) newRunEnv() []string {
	env := make([]string, 0, len(x.stage.env.names))
	inImage := map[string]bool{}
	for _, entry := range x.stage.image.Config.Env {
		name, _, _ := strings.Cut(entry, "=")
		inImage[name] = true
		env = append(env, x.stage.env.entries[name])
	}
	for _, name := range x.stage.env.names {
		if !inImage[name] {
			env = append(env, x.stage.env.entries[name])
		}
	}
	return env
}

// withArgs gives the created_by text of a command for the history: "|N NAME=VALUE... ARGUMENTS" if there are build
// arguments.
func (x running) withArgs(args []string) string {
	var texts []string
	place := map[string]int{}
	for _, a := range x.stage.args {
		value, ok := x.stage.env.Get(a.name)
		if !ok {
			value = a.value
		}
		text := a.name + "=" + value
		if n, again := place[a.name]; again {
			texts[n] = text
			continue
		}
		place[a.name] = len(texts)
		texts = append(texts, text)
	}
	if len(texts) > 0 {
		texts = slices.Insert(texts, 0, fmt.Sprintf("|%d", len(texts)))
	}
	return strings.Join(append(texts, args...), " ")
}

// proxyEnv gives the proxy variables, KEY=VALUE, that --build-arg and the environment set, each in both spellings,
// except those that the step's environment has. Those of the environment are not build arguments, so they get into no
// history and no cache key; like a build argument they win over the default of an ARG.
func (x running) proxyEnv() []string {
	given, outside := map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(x.opts.BuildArgs)) {
		if value, ok := x.args.given(name); ok {
			given[strings.ToUpper(name)] = value
		}
	}

	for _, name := range slices.Sorted(maps.Keys(x.opts.Proxies)) {
		outside[strings.ToUpper(name)] = x.opts.Proxies[name]
	}
	var out []string
	for _, name := range ProxyNames() {
		value, isGiven := given[strings.ToUpper(name)]
		lookUp := x.stage.env.Get
		if !isGiven {
			value, lookUp = outside[strings.ToUpper(name)], x.stage.image.Env
		}
		if value == "" {
			continue
		}
		if _, taken := lookUp(name); !taken {
			out = append(out, name+"="+value)
		}
	}

	return out
}
