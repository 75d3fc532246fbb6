package workcmd

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
)

// fromOptions are the flags of from.
type fromOptions struct {
	verb
	command.RegistryFlags
	pull                   pullFlag
	pullAlways, pullNever  bool
	quiet                  bool
	name, cidFile          string
	platform, os, arch     string
	variant                string
	format, isolation      string
	network, ipc, pid, uts string
	cgroupns, userns       string
	sandbox                working.Sandbox
	memory, memorySwap     string
}

func newFromCmd(env command.Env) *cobra.Command {
	o := &fromOptions{verb: verb{env: env}}
	cmd := &cobra.Command{
		Use:   "from [flags] IMAGE",
		Short: "Make a working container from an image",
		Long: `Make a working container from an image, or from nothing with the name scratch, and print its name. Commands are run in
it, files are copied into it, and an image is made of it: see cooper run, copy, add, config and commit. buildah works
with the same containers.

The flags about commands count for all commands that are run in the container.`,
		Example: `  c=$(cooper from debian:stable-slim)
  cooper run $c -- apt-get update
  cooper copy $c app /usr/bin/
  cooper config --cmd /usr/bin/app $c
  cooper commit --rm $c app`,
		Args: usage(1, 1, "an image"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.do(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "name of the container (default the image's and -working-container)")
	f.StringVar(&o.cidFile, "cidfile", "", "write the container's ID to this file")
	o.pull = pullFlag(build.PullMissing)
	f.Var(&o.pull, "pull", "fetch the image: always, missing, newer or never; true is newer, false is missing")
	f.Lookup("pull").NoOptDefVal = "true"
	f.BoolVar(&o.pullAlways, "pull-always", false, "the same as --pull=always")
	f.BoolVar(&o.pullNever, "pull-never", false, "the same as --pull=never")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing but errors and the name")
	f.StringVar(&o.platform, "platform", "", "platform that the image must be for, OS/ARCH[/VARIANT]")
	f.StringVar(&o.os, "os", "", "the part of --platform before the slash")
	f.StringVar(&o.arch, "arch", "", "the part of --platform behind the slash")
	f.StringVar(&o.variant, "variant", "", "the last part of --platform")
	f.StringVarP(&o.format, "format", "f", os.Getenv("BUILDAH_FORMAT"),
		"format of the image's manifest unless commit says another: oci or docker (default oci)")
	o.addSandbox(f)
	o.RegistryFlags.Add(f)
	o.RegistryFlags.AddRetries(f, "to pull")
	o.registry = &o.RegistryFlags
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// addSandbox adds the flags about the container's commands.
func (o *fromOptions) addSandbox(f *pflag.FlagSet) {
	b := &o.sandbox
	f.StringArrayVar(&b.AddHosts, "add-host", nil, "line for /etc/hosts of commands, NAME:ADDRESS")
	f.StringSliceVar(&b.DNS, "dns", nil, "name server of commands; none leaves the image's resolv.conf")
	f.StringSliceVar(&b.DNSSearch, "dns-search", nil, "search domain of commands")
	f.StringSliceVar(&b.DNSOptions, "dns-option", nil, "option for resolv.conf of commands")
	f.StringVar(&b.ShmSize, "shm-size", "", "size of /dev/shm of commands (default 64m)")
	f.StringArrayVar(&b.Limits, "ulimit", nil, "resource limit of commands, NAME=SOFT[:HARD]")
	f.StringArrayVarP(&b.Volumes, "volume", "v", nil, "show a directory of the host to commands, HOST:TARGET[:ro]")
	f.StringSliceVar(&b.CapAdd, "cap-add", nil, "capability for commands besides the usual ones, or ALL")
	f.StringSliceVar(&b.CapDrop, "cap-drop", nil, "capability that is taken from commands, or ALL")
	f.StringVar(&o.network, "network", "",
		"network of commands: private (one of their own with a way out), none, host, or default, which is private unless "+
			"cooper.toml says otherwise")
	f.StringVarP(&o.memory, "memory", "m", "", "memory that each command may take, such as 512m")
	f.StringVar(&o.memorySwap, "memory-swap", "", "memory and swap together, or -1 for any (default twice --memory)")
	t := &b.Takes
	f.Uint64VarP(&t.CPUShares, "cpu-shares", "c", 0, "share of processors that others want, too; 1024 is usual")
	f.Uint64Var(&t.CPUPeriod, "cpu-period", 0, "microseconds (default 100000)")
	f.Int64Var(&t.CPUQuota, "cpu-quota", 0, "microseconds of processor time that a command may take in a --cpu-period")
	f.StringVar(&t.CPUs, "cpuset-cpus", "", "processors for commands, such as 0-3,5")
	f.StringVar(&t.Nodes, "cpuset-mems", "", "memory nodes for commands, such as 0")
	f.StringVar(&t.CgroupParent, "cgroup-parent", "", "control group below which each command gets its own")
	command.Accept(f, "cooper run has --env for what a command is to have of the environment", "http-proxy")
	command.Refuse(f, "a container doesn't keep it\nhint: cooper run takes it for a command", "device", "group-add",
		"security-opt")
	command.Refuse(f, "a working container's files have the IDs of cooper's own namespace\nhint: cooper run has --uidmap and --gidmap",
		"userns-uid-map", "userns-gid-map", "userns-uid-map-user", "userns-gid-map-group")
	command.Refuse(f, "encrypted images are not read\nhint: skopeo copy --decryption-key puts one into the store",
		"decryption-key")
	f.StringVar(&o.isolation, "isolation", "", "native, oci, chroot or rootless: cooper's own sandbox is used with all")
	for name, to := range map[string]*string{"ipc": &o.ipc, "pid": &o.pid, "uts": &o.uts, "cgroupns": &o.cgroupns,
		"userns": &o.userns} {
		f.StringVar(to, name, "", "private, which it always is")
		f.Lookup(name).Hidden = true
	}
}

// configure keeps the settings in the new container's state.
func (o *fromOptions) configure(s *working.State) error {
	isolation, ok := working.ParseIsolation(o.isolation)
	if !ok {
		return command.Usagef("--isolation=%s: must be native, oci, chroot or rootless", o.isolation)
	}
	for name, value := range map[string]string{"ipc": o.ipc, "pid": o.pid, "uts": o.uts, "cgroupns": o.cgroupns} {
		if err := private(name, value); err != nil {
			return err
		}
	}
	if o.userns != "" && o.userns != "host" && o.userns != "container" && o.userns != "private" {
		return command.Usagef("--userns=%s is not supported here: a working container's files have the IDs of cooper's own "+
			"namespace\nhint: cooper run --userns gives a command one below that", o.userns)
	}
	switch o.network {
	case "none", "host", "private", "":
		o.sandbox.Network = o.network
	case "default":
	default:
		return command.Usagef("--network=%s: must be host, private, default or none", o.network)
	}
	if o.format != "" {
		format, err := build.ParseFormat(o.format)
		if err != nil {
			return command.Usagef("--format: %w", err)
		}
		s.Format = format.Manifest()
	}
	var err error
	if o.sandbox.Takes.Memory, err = stepflags.ParseSize(o.memory); err != nil {
		return command.Usagef("--memory=%s: %w", o.memory, err)
	}
	if o.memorySwap == "-1" {
		o.sandbox.Takes.MemorySwap = -1
	} else if o.sandbox.Takes.MemorySwap, err = stepflags.ParseSize(o.memorySwap); err != nil {
		return command.Usagef("--memory-swap=%s: %w", o.memorySwap, err)
	}
	s.Isolation = isolation
	s.SetSandbox(o.sandbox)
	return nil
}

// private refuses namespaces of the host.
func private(name, value string) error {
	if value == "" || value == "private" {
		return nil
	}
	return command.Usagef("--%s=%s is not supported: commands always have a namespace of their own", name, value)
}

func (o *fromOptions) do(cmd *cobra.Command, image string) error {
	req := working.FromRequest{Image: strings.TrimPrefix(image, "docker://"), Name: o.name, Configure: o.configure}
	var err error
	if req.Find, err = o.find(); err != nil {
		return err
	}
	o.mode = show.ModeAuto
	if o.quiet {
		o.mode = show.ModeQuiet
	}
	return o.run(cmd.Context(), func(s *build.Session, to progress.Sink) error {
		req.Progress = to
		if err := o.load(cmd.Context(), s, to, &req); err != nil {
			return err
		}
		name, id, err := working.From(cmd.Context(), s, req)
		if err != nil {
			return err
		}
		if o.cidFile != "" {
			if err := outfile.WriteFile(cmd.Context(), o.cidFile, []byte(id)); err != nil {
				return command.Usagef("--cidfile: %w", err)
			}
		}
		return o.print(name)
	})
}
