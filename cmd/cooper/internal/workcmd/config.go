package workcmd

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// configOptions are the flags of config.
type configOptions struct {
	verb
	addHistory bool
	flags      *pflag.FlagSet

	cmd, entrypoint, user, workdir, shell, stopSignal         string
	author, comment, createdBy, historyComment                string
	hostname, domainname, os, osVersion, arch, variant        string
	env, labels, annotations, ports, volumes, onbuild, unsets []string
	osFeatures                                                []string

	healthcheck                                string
	healthInterval, healthTimeout, healthStart time.Duration
	healthStartInterval                        time.Duration
	healthRetries                              int
}

func newConfigCmd(env command.Env) *cobra.Command {
	return (&configOptions{verb: verb{env: env}}).command()
}

// command makes the command whose flags these are.
func (o *configOptions) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config [flags] CONTAINER",
		Short: "Change the config of the image that a working container becomes",
		Long: `Change the config of the image that a working container becomes. Of environment variables, labels, annotations, ports and
volumes NAME- takes one away and - all of them.

A --cmd and a --shell are split into words as a shell does. An --entrypoint is a JSON array, or a text for /bin/sh -c.`,
		Example: `  cooper config --env PATH='$PATH:/opt/bin' --env OLD- $c
  cooper config --entrypoint '["/usr/bin/app"]' --cmd --serve --port 8080 $c
  cooper config --label version=1 --author 'Jane Doe' --workingdir /srv --user app $c`,
		Args: usage(1, 1, "a container"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.do(cmd.Context(), args[0]) },
	}
	f := cmd.Flags()
	o.flags = f
	f.StringVar(&o.cmd, "cmd", "", "default command, or arguments of the entry point")
	f.StringVar(&o.entrypoint, "entrypoint", "", `entry point, a JSON array or a text for /bin/sh -c; empty: none`)
	f.StringArrayVarP(&o.env, "env", "e", nil, "variable, NAME=VALUE with $NAME from the config, NAME from the environment, or NAME-")
	f.StringArrayVarP(&o.labels, "label", "l", nil, "label, KEY=VALUE or KEY-")
	f.StringArrayVarP(&o.annotations, "annotation", "a", nil, "annotation of the manifest, KEY=VALUE or KEY-")
	f.StringSliceVarP(&o.ports, "port", "p", nil, "port that the image listens on, PORT[/PROTOCOL], or with a - behind it")
	f.StringSliceVarP(&o.volumes, "volume", "v", nil, "path of a volume, or with a - behind it")
	f.StringVarP(&o.user, "user", "u", "", "user, NAME|UID[:GROUP|GID]")
	f.StringVar(&o.workdir, "workingdir", "", "working directory")
	f.StringVar(&o.shell, "shell", "", "shell of commands in shell form")
	f.StringVar(&o.stopSignal, "stop-signal", "", "signal that stops containers")
	f.StringArrayVar(&o.onbuild, "onbuild", nil, "instruction for builds on the image")
	f.StringVar(&o.author, "author", "", "author of the image")
	f.StringVar(&o.comment, "comment", "", "text about the image")
	f.StringVar(&o.createdBy, "created-by", "", "what the history says of the layer")
	f.StringVar(&o.historyComment, "history-comment", "", "comment on the layer in the history")
	f.StringVar(&o.hostname, "hostname", "", "host name of containers, in Docker's format only")
	f.StringVar(&o.domainname, "domainname", "", "domain name of containers, in Docker's format only")
	f.StringVar(&o.os, "os", "", "operating system of the image")
	f.StringVar(&o.osVersion, "os-version", "", "version of the operating system")
	f.StringArrayVar(&o.osFeatures, "os-feature", nil, "feature that the operating system must have, or with a - behind it")
	f.StringVar(&o.arch, "arch", "", "architecture of the image")
	f.StringVar(&o.variant, "variant", "", "variant of the architecture")
	o.addHealth(f)
	f.StringArrayVar(&o.unsets, "unsetlabel", nil, "label that is taken away, which the image needn't have")
	f.BoolVar(&o.addHistory, "add-history", byDefault(envHistory), "add entries to the image's history")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

func (o *configOptions) addHealth(f *pflag.FlagSet) {
	f.StringVar(&o.healthcheck, "healthcheck", "", "health check: NONE, CMD WORDS, CMD-SHELL TEXT; empty: as the base's containers")
	f.DurationVar(&o.healthInterval, "healthcheck-interval", usualInterval, "time between health checks")
	f.DurationVar(&o.healthTimeout, "healthcheck-timeout", usualInterval, "time that a health check may take")
	f.DurationVar(&o.healthStart, "healthcheck-start-period", 0, "time after the start in which failures don't count")
	f.DurationVar(&o.healthStartInterval, "healthcheck-start-interval", 0, "time between health checks in that time")
	f.IntVar(&o.healthRetries, "healthcheck-retries", usualRetries, "failures after which a container counts as unhealthy")
}

// The usual values of health checks, which are buildah's.
const (
	usualInterval = 30 * time.Second
	usualRetries  = 3
)

func (o *configOptions) do(ctx context.Context, name string) error {
	return o.run(ctx, func(s *build.Session, to progress.Sink) error {
		err := working.Change(ctx, s, name, to, o.change)
		return withNearest(ctx, s, err, name)
	})
}
