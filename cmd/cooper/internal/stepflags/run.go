package stepflags

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/settings"
	"github.com/cooperbuild/cooper/internal/size"
)

// NetworkDefault is the network of steps for which nobody asks for another.
const NetworkDefault = "default"

// Run are the flags about RUN steps as they are written.
type Run struct {
	Network, ShmSize                     string
	AddHosts, DNS, DNSSearch, DNSOptions []string
	Limits, CapAdd, CapDrop, Volumes     []string
	Secrets, Devices                     []string
	Isolation, Runtime                   string
	// HTTPProxy gives the steps the proxy variables of the environment.
	HTTPProxy bool

	// Notes are about settings that have no effect on this machine; Options sets them.
	Notes []string

	allow, securityOpts, ssh []string
	deviceDirs, hostLoopback []string
	keepBundle, egress       string
	networkRate              string

	// Shared is what commands have in common with the host.
	Shared Shared
	// Takes are the limits of what each command takes in all.
	Takes Limits
}

// Register adds the flags of a build.
func (r *Run) Register(f *pflag.FlagSet) {
	f.StringVar(&r.Network, "network", NetworkDefault,
		"network of RUN steps: private (one of their own with a way out), none, host, which also allows RUN --network=host, "+
			"ns:PATH, or default, which is private unless cooper.toml says otherwise")
	f.StringSliceVar(&r.hostLoopback, "host-loopback", nil,
		"port of this machine's loopback address that RUN steps in a private network reach at host.docker.internal")
	f.StringVar(&r.egress, "egress-policy", "",
		"file with lines such as \"allow *.example.org:80\": whom RUN steps in a private network may talk to, and nobody else")
	f.StringVar(&r.networkRate, "network-rate", "",
		"bytes a second that each RUN step in a private network may send, and receive, such as 10m")
	r.RegisterSandbox(f, "RUN steps")
	f.BoolVar(&r.HTTPProxy, "http-proxy", false, "give RUN steps the proxy variables of the environment")
	f.StringArrayVar(&r.Secrets, "secret", nil,
		"secret for RUN --mount=type=secret, and for servers (GIT_AUTH_TOKEN): id=ID[,src=FILE|,env=VARIABLE|,cmd=COMMAND][,type=file|env]")
	f.StringArrayVar(&r.ssh, "ssh", nil,
		"agent or keys for RUN --mount=type=ssh and, as default, for git: default|ID[=SOCKET|KEYFILE[,KEYFILE...]]")
	f.StringSliceVar(&r.allow, "allow", nil,
		"let the Dockerfile use security.insecure (RUN --security=insecure), network.host (RUN --network=host), "+
			"device or device=NAME (RUN --device), or fs.read=DIR (ADD of the git repositories there)")
	r.registerIsolation(f)
	r.Takes.registerSteps(f)
}

// RegisterSandbox adds the flags about the sandbox that whose commands run in.
func (r *Run) RegisterSandbox(f *pflag.FlagSet, whose string) {
	f.StringSliceVar(&r.AddHosts, "add-host", nil, "line for /etc/hosts of "+whose+", NAME:ADDRESS")
	f.StringSliceVar(&r.DNS, "dns", nil,
		"name server of "+whose+" instead of the host's, an address; none leaves the image's resolv.conf")
	f.StringSliceVar(&r.DNSSearch, "dns-search", nil, "search domain of "+whose+"; . is none")
	f.StringSliceVar(&r.DNSOptions, "dns-option", nil, "option for resolv.conf of "+whose)
	f.StringVar(&r.ShmSize, "shm-size", "", "size of /dev/shm of "+whose+", such as 128m (default 64m)")
	f.StringSliceVar(&r.Limits, "ulimit", nil, "resource limit of "+whose+", NAME=SOFT[:HARD], such as nofile=1024")
	r.Takes.register(f, whose)
	r.Shared.register(f, whose)
	f.StringArrayVar(&r.Devices, "device", nil,
		"device for "+whose+": HOSTPATH[:PATH[:rwm]], or VENDOR/CLASS=NAME of a CDI file")
	f.StringSliceVar(&r.deviceDirs, "cdi-config-dir", nil,
		"directory with CDI files (default /etc/cdi, /var/run/cdi and ~/.config/cdi)")
	f.StringSliceVar(&r.CapAdd, "cap-add", nil, "capability for "+whose+" besides the usual ones, or ALL")
	f.StringSliceVar(&r.CapDrop, "cap-drop", nil, "capability that is taken from "+whose+", or ALL")
	f.StringArrayVar(&r.securityOpts, "security-opt", nil,
		"how "+whose+" are confined: seccomp=FILE (a profile of system calls) or seccomp=unconfined, apparmor=PROFILE, "+
			"label=type:TYPE, or no-new-privileges (setuid has no effect)")
	f.StringArrayVarP(&r.Volumes, "volume", "v", nil,
		"show a directory or file of the host to "+whose+", HOST:TARGET[:ro|:O|:idmap]; O throws away what is written, "+
			"idmap shows real root's commands the host's owners as their own")
}

// Options makes options of the flags, all but the secrets.
func (r *Run) Options() (build.RunOptions, error) {
	o := build.RunOptions{AddHosts: r.AddHosts,
		Limits: r.Limits, CapAdd: r.CapAdd, CapDrop: r.CapDrop}
	o.Lent.Devices, o.Lent.DeviceDirs = r.Devices, r.deviceDirs
	for _, do := range []func(*build.RunOptions) error{
		r.limit, r.share, r.connect, r.names, r.entitle, r.secure, r.mount, r.isolate, r.agents,
	} {
		if err := do(&o); err != nil {
			return o, err
		}
	}
	return o, o.Check()
}

// connect sets the network of the steps: what the flag says, or else cooper.toml.
func (r *Run) connect(o *build.RunOptions) error {
	if r.Network != NetworkDefault {
		if err := o.SetNetwork(r.Network); err != nil {
			return err
		}
	} else {
		set, err := command.Settings()
		if err != nil {
			return err
		}
		o.Network, o.HostIfImpossible = set.Text(settings.NetworkDefault), set.Is(settings.NetworkAllowHost)
	}
	if r.egress != "" {
		if err := o.SetEgress(r.egress); err != nil {
			return err
		}
	}
	if err := r.limitNetwork(o); err != nil {
		return err
	}
	return o.SetHostLoopback(r.hostLoopback)
}

// limitNetwork reads --network-rate.
func (r *Run) limitNetwork(o *build.RunOptions) error {
	if r.networkRate == "" {
		return nil
	}
	n, err := ParseSize(strings.TrimSuffix(r.networkRate, "/s"))
	if err == nil {
		err = o.SetNetworkRate(n)
	} else {
		err = errors.New("must be a size a second, such as 10m")
	}
	if err != nil {
		return fmt.Errorf("--network-rate=%s: %w", r.networkRate, err)
	}
	return nil
}

func (r *Run) names(o *build.RunOptions) error {
	for _, h := range r.AddHosts {
		n := strings.IndexAny(h, ":=")
		if n <= 0 || n == len(h)-1 {
			return fmt.Errorf("--add-host %q: must be NAME:ADDRESS", h)
		}
	}
	for _, f := range []struct {
		name  string
		given []string
	}{{"--dns", r.DNS}, {"--dns-option", r.DNSOptions}, {"--dns-search", r.DNSSearch}} {
		if r.Network == "none" && len(f.given) > 0 {
			return fmt.Errorf("the %s option cannot be used with --network=none", f.name)
		}
	}
	none := func(server string) bool { return server == "none" }
	o.DNS = build.DNS{Servers: r.DNS, Search: r.DNSSearch, Options: r.DNSOptions, None: slices.ContainsFunc(r.DNS, none)}
	if o.DNS.None && !slices.ContainsFunc(r.DNS, func(server string) bool { return !none(server) }) {
		o.DNS.Servers = nil
	}
	return o.DNS.Check()
}

func (r *Run) entitle(o *build.RunOptions) error {
	for _, what := range r.allow {
		dir, isDir := strings.CutPrefix(what, "fs.read=")
		switch {
		case isDir && dir != "":
			dir, err := filepath.Abs(dir)
			if err != nil {
				return fmt.Errorf("--allow=%s: %w", what, err)
			}
			o.ReadDirs = append(o.ReadDirs, dir)
		case what == "security.insecure":
			o.Insecure = true
		case what == "device":
			o.Lent.AllowAllDevices = true
		case strings.HasPrefix(what, "device=") && what != "device=":
			o.Lent.AllowDevices = append(o.Lent.AllowDevices, strings.TrimPrefix(what, "device="))
		case what == "network.host":
			o.HostNetwork = true
		case what == "buildx.local.delete":
			// As it is: the user says mode=delete on the same command line.
		default:
			return fmt.Errorf("--allow=%s: must be security.insecure, network.host, device[=NAME] or fs.read=DIR", what)
		}
	}
	return nil
}

func (r *Run) secure(o *build.RunOptions) (err error) {
	r.Notes, err = o.Confinement.Set(r.securityOpts)
	return err
}

func (r *Run) mount(o *build.RunOptions) (err error) {
	if o.ShmSize, err = ParseSize(r.ShmSize); err != nil {
		return fmt.Errorf("--shm-size=%s: %w", r.ShmSize, err)
	}
	for _, text := range r.Volumes {
		v, err := build.ParseVolume(text)
		if err != nil {
			return err
		}
		o.Volumes = append(o.Volumes, v)
	}
	return nil
}

// ParseSize reads a number of bytes; empty is 0.
func ParseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	return size.Parse(text)
}

// agents reads --ssh. Without a path it is the agent of the environment.
func (r *Run) agents(o *build.RunOptions) error {
	o.Agents = map[string][]string{}
	for _, text := range r.ssh {
		id, list, _ := strings.Cut(text, "=")
		if id == "" {
			return fmt.Errorf("--ssh %q: must be default or ID, with =SOCKET or =KEYFILE", text)
		}
		if _, again := o.Agents[id]; again {
			return fmt.Errorf("--ssh %s: given twice", id)
		}
		if list == "" {
			if list = os.Getenv("SSH_AUTH_SOCK"); list == "" {
				return fmt.Errorf("--ssh %s: there is no agent: SSH_AUTH_SOCK is not set\nhint: eval $(ssh-agent) && ssh-add, or --ssh %[1]s=KEYFILE", id)
			}
			o.Agents[id] = []string{list}
			continue
		}
		for path := range strings.SplitSeq(list, ",") {
			if strings.HasPrefix(path, "raw=") || path == "" {
				return fmt.Errorf("--ssh %s: %q is not supported: give a socket or key files", text, path)
			}
			o.Agents[id] = append(o.Agents[id], path)
		}
	}
	return nil
}

// Proxies are the proxy settings of the environment, without those that the build is given others for.
func (r *Run) Proxies(args map[string]*string) map[string]string {
	if !r.HTTPProxy {
		return nil
	}
	given := map[string]bool{}
	for name := range args {
		given[strings.ToUpper(name)] = true
	}
	found := map[string]string{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"} {
		for _, spelling := range []string{strings.ToLower(name), name} {
			if value, ok := os.LookupEnv(spelling); ok && !given[name] {
				found[spelling] = value
				break
			}
		}
	}
	return found
}
