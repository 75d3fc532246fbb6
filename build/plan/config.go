package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// configuring is the planning of an instruction that changes the image config, and WORKDIR.
type configuring struct {
	expanding
}

// config applies an instruction that changes only the image config to the stage's config. It gives the instruction's
// created_by text for the history.
func (x configuring) config() (createdBy string, err error) {
	st := x.stage
	switch c := x.in.Command.(type) {
	case *instructions.ArgCommand:
		return x.arg(c)
	case *instructions.EnvCommand:
		return x.env(c)
	case *instructions.LabelCommand:
		return x.label(c)
	case *instructions.ExposeCommand:
		return x.expose(c)
	case *instructions.VolumeCommand:
		return x.volume(c)
	case *instructions.CmdCommand:
		x.lint.once(st.once, c)
		st.hasCmd = true
		args := x.commandLine(c, c.ShellDependantCmdLine)
		st.image.Image = st.image.WithCmd(args)
		return fmt.Sprintf("CMD %q", args), nil
	case *instructions.EntrypointCommand:
		x.lint.once(st.once, c)
		args := x.commandLine(c, c.ShellDependantCmdLine)
		st.image.Image = st.image.WithEntrypoint(args)
		if !st.hasCmd { // the CMD of the base holds arguments for the base's ENTRYPOINT
			st.image.Image = st.image.WithCmd(nil)
		}
		return fmt.Sprintf("ENTRYPOINT %q", args), nil
	case *instructions.HealthCheckCommand:
		x.lint.once(st.once, c)
		h := imagebuilder.Healthcheck{
			Test: c.Health.Test, Interval: c.Health.Interval, Timeout: c.Health.Timeout,
			StartPeriod: c.Health.StartPeriod, StartInterval: c.Health.StartInterval, Retries: c.Health.Retries,
		}
		st.image.Image = st.image.WithHealthcheck(h)
		return fmt.Sprintf("HEALTHCHECK %+v", h), nil
	case *instructions.ShellCommand:
		st.image.Image = st.image.WithShell(c.Shell)
		return fmt.Sprintf("SHELL %v", c.Shell), nil
	case *instructions.OnbuildCommand:
		return "", x.budget.hold(st.image.AddOnBuild(c.Expression))
	case *instructions.MaintainerCommand:
		st.image.Image = st.image.WithAuthor(c.Maintainer)
		return "MAINTAINER " + c.Maintainer, nil
	case *instructions.UserCommand:
		user, err := x.word(c.User)
		st.image.Image = st.image.WithUser(user)
		return "USER " + user, err
	case *instructions.StopSignalCommand:
		return x.stopSignal(c)
	}

	return "", refuse(strings.ToUpper(x.in.Name()), "")
}

// commandLine gives the argument vector of CMD or ENTRYPOINT.
func (x configuring) commandLine(cmd instructions.Command, line instructions.ShellDependantCmdLine) []string {
	if !line.PrependShell {
		return line.CmdLine
	}
	x.lint.shellForm(cmd, x.stage.image.Config.Shell)
	return append(x.stage.image.Shell(), strings.Join(line.CmdLine, " "))
}

func (x configuring) arg(c *instructions.ArgCommand) (string, error) {
	var text strings.Builder
	text.WriteString("ARG")
	for _, a := range c.Args {
		x.lint.secretKey("ARG", a.Key, c.Location())
		x.args.declared[a.Key] = true
		value, hasValue, err := x.argValue(a)
		if err != nil {
			return "", err
		}
		text.WriteString(" " + a.Key)
		if hasValue {
			x.stage.env.set(a.Key, value)
			text.WriteString("=" + value)
		}
		x.stage.args = append(x.stage.args, argument{name: a.Key, value: value})
	}
	return text.String(), nil
}

// argValue gives the value of an ARG, which is the first of these that exists: the --build-arg, the default of the
// instruction, the global argument of the name.
func (x configuring) argValue(a instructions.KeyValuePairOptional) (value string, hasValue bool, err error) {
	if given, ok := x.args.given(a.Key); ok {
		return given, true, nil
	}
	if a.Value != nil {
		value, err = x.word(*a.Value)
		return value, true, err
	}
	value, hasValue = x.args.global.Get(a.Key)
	return value, hasValue, nil
}

// pairs expands the words NAME=VALUE of an instruction, all with the variables as they were before the instruction.
func (x configuring) pairs(in instructions.KeyValuePairs) (instructions.KeyValuePairs, error) {
	out := slices.Clone(in)
	for n := range out {
		var err error
		if out[n].Key, err = x.word(in[n].Key); err != nil {
			return nil, err
		}
		if out[n].Value, err = x.word(in[n].Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (x configuring) env(c *instructions.EnvCommand) (string, error) {
	pairs, err := x.pairs(c.Env)
	if err != nil {
		return "", err
	}
	x.lint.legacyPairs(c.Env, c.Name(), c.Location())
	var text strings.Builder
	text.WriteString("ENV")
	for _, kv := range pairs {
		if kv.Key == "" || strings.Contains(kv.Key, "=") {
			return "", &hinted{fmt.Sprintf("%q is not a name for a variable", kv.Key), "usage: ENV NAME=VALUE..."}
		}
		x.lint.secretKey("ENV", kv.Key, c.Location())
		text.WriteString(" " + kv.Key + "=" + kv.Value)
		x.stage.env.set(kv.Key, kv.Value)
		if err := x.budget.hold(x.stage.image.SetEnv(kv.Key, kv.Value)); err != nil {
			return "", err
		}
	}
	return text.String(), nil
}

func (x configuring) label(c *instructions.LabelCommand) (string, error) {
	pairs, err := x.pairs(c.Labels)
	if err != nil {
		return "", err
	}
	x.lint.legacyPairs(c.Labels, c.Name(), c.Location())
	var text strings.Builder
	text.WriteString("LABEL")
	copied := 0
	for _, kv := range pairs {
		copied += x.stage.image.SetLabel(kv.Key, kv.Value)
		text.WriteString(" " + kv.Key + "=" + kv.Value)
	}
	return text.String(), x.budget.hold(copied)
}

func (x configuring) expose(c *instructions.ExposeCommand) (string, error) {
	var ports []string
	for _, text := range c.Ports {
		e, err := run(x.expand.word, text, x.stage.env)
		if err != nil {
			return "", fmt.Errorf("cannot expand %s: %w", quoted(text), err)
		}
		// Words are split after expansion, since the lexer, when it splits them, drops the text before a ${...} with a
		// modifier. No port holds a space.
		for _, word := range strings.Fields(e.text) {
			parsed, err := imagebuilder.ParsePorts(word)
			if err != nil {
				return "", &hinted{fmt.Sprintf("EXPOSE %s: %v", word, err),
					"usage: EXPOSE PORT[-PORT][/PROTOCOL]..., such as EXPOSE 80 8000-8010/udp"}
			}
			x.lintPort(c, word, parsed)
			ports = append(ports, parsed.Keys...)
			if err := x.budget.hold(portBytes * len(parsed.Keys)); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("EXPOSE %v", ports), x.budget.hold(x.stage.image.ExposePorts(ports...))
}

// portBytes is about how many bytes of memory one port of an EXPOSE takes.
const portBytes = 32

func (x configuring) lintPort(c *instructions.ExposeCommand, word string, p imagebuilder.Ports) {
	if p.UpperCase {
		x.lint.Run(&linter.RuleExposeProtoCasing, c.Location(), linter.RuleExposeProtoCasing.Format(word))
	}
	if p.HostPart {
		x.lint.Run(&linter.RuleExposeInvalidFormat, c.Location(), linter.RuleExposeInvalidFormat.Format(word))
	}
}

func (x configuring) volume(c *instructions.VolumeCommand) (string, error) {
	paths, err := x.words(c.Volumes)
	if err != nil {
		return "", err
	}
	if n := slices.Index(paths, ""); n >= 0 {
		return "", &hinted{fmt.Sprintf("the volume %q expands to nothing", c.Volumes[n]), "usage: VOLUME PATH..."}
	}
	return fmt.Sprintf("VOLUME %v", paths), x.budget.hold(x.stage.image.AddVolumes(paths...))
}

func (x configuring) stopSignal(c *instructions.StopSignalCommand) (string, error) {
	signal, err := x.word(c.Signal)
	if err != nil {
		return "", err
	}
	if err := imagebuilder.CheckSignal(signal); err != nil {
		return "", &hinted{"STOPSIGNAL: " + err.Error(), "a signal is a number or a name, such as SIGTERM or 15"}
	}
	x.stage.image.Image = x.stage.image.WithStopSignal(signal)
	return "STOPSIGNAL " + signal, nil
}

// workdir sets the working directory and adds a Workdir step that makes it; for "/", which always exists, a Config
// step.
func (x configuring) workdir(c *instructions.WorkdirCommand) error {
	dir, err := x.word(c.Path)
	if err != nil {
		return err
	}
	if !x.stage.hasWorkdir && !path.IsAbs(dir) {
		x.lint.Run(&linter.RuleWorkdirRelativePath, c.Location(), linter.RuleWorkdirRelativePath.Format(dir))
	}
	x.stage.hasWorkdir = true
	x.stage.image.Image = x.stage.image.WithWorkdir(dir)
	dir = x.stage.image.Config.WorkingDir
	if dir == "/" {
		x.step(&Config{}, "WORKDIR /", true)
		return nil
	}
	x.step(&Workdir{Path: dir, User: x.stage.image.Config.User}, "WORKDIR "+dir, true)
	return x.budget.hold(len(dir))
}
