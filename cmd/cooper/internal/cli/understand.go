package cli

import (
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildxcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/containersconf"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/kaniko"
)

// understand makes a command line of another tool one of cooper's: it finds the dialect, and gives the options before
// the verb to the verb, or to the environment, from which the process in the namespace has them, too. With an error
// the tree of commands is nil.
func understand(env command.Env, out io.Writer) (command.Env, *cobra.Command, error) {
	var err error
	if env.Dialect, err = dialect.Choose(env.Name, os.Getenv(dialect.Variable)); err != nil {
		return env, nil, command.Usage(err)
	}
	if kaniko.Is(env.Name) {
		env.Args = append([]string{buildcmd.KanikoWord}, env.Args...)
	}
	line, err := dialect.Split(env.Args)
	if err != nil {
		return env, nil, command.Usage(err)
	}
	for _, text := range line.Variables {
		name, value, _ := strings.Cut(text, "=")
		if err := os.Setenv(name, value); err != nil {
			return env, nil, command.Usage(err)
		}
	}
	conf, err := containersConf(env.Dialect)
	if err != nil {
		return env, nil, err
	}
	words := dialect.Verb(line.Words)
	if buildxcmd.Is(env.Name) {
		words = buildxcmd.Words(line.Words)
	}
	env.Args = words
	if len(line.Flags) > 0 {
		env.Args = withFlags(newRootCmd(env, out), words, line.Flags)
	}
	root := newRootCmd(env, out)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := conf.Apply(cmd.Name(), cmd.Flags()); err != nil {
			return command.Usage(err)
		}
		return nil
	}
	return env, root, nil
}

// containersConf is what containers.conf says, which podman and buildah read. The process gets the variables that it
// has for them.
func containersConf(d dialect.Dialect) (conf containersconf.Conf, err error) {
	if !d.Containers() {
		return conf, nil
	}
	if conf, err = containersconf.Read(os.Getenv); err != nil {
		return conf, command.Usage(err)
	}
	for _, text := range conf.Environ() {
		name, value, _ := strings.Cut(text, "=")
		if _, has := os.LookupEnv(name); has {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return conf, command.Usagef("containers.conf: env %q: %w", text, err)
		}
	}
	return conf, nil
}

// withFlags puts those of the flags that a verb has behind it and the verbs below it that the words name.
func withFlags(root *cobra.Command, words, flags []string) []string {
	cmd, verbs := root, 0
	for verbs < len(words) {
		n := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool {
			return c.Name() == words[verbs] || c.HasAlias(words[verbs])
		})
		if n < 0 {
			break
		}
		cmd = cmd.Commands()[n]
		verbs++
	}
	has := func(flag string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		return cmd.Flags().Lookup(name) != nil
	}
	flags = slices.DeleteFunc(slices.Clone(flags), func(flag string) bool { return !has(flag) })
	return slices.Concat(words[:verbs], flags, words[verbs:])
}
