package workstate

import "strings"

// Isolation is what runs the commands of a container, by buildah's numbers.
type Isolation int

// The isolations of buildah. cooper runs commands by itself with all of them.
const (
	IsolationDefault Isolation = iota
	IsolationOCI
	IsolationChroot
	IsolationRootless
)

// String is the name of the isolation.
func (i Isolation) String() string {
	switch i {
	case IsolationChroot:
		return "chroot"
	case IsolationRootless:
		return "rootless"
	case IsolationDefault, IsolationOCI:
	}
	return "oci"
}

// ParseIsolation reads the name of an isolation. native is cooper's own.
func ParseIsolation(text string) (i Isolation, ok bool) {
	switch text {
	case "", "native", "default", "oci":
		return IsolationOCI, true
	case "chroot":
		return IsolationChroot, true
	case "rootless":
		return IsolationRootless, true
	}
	return 0, false
}

// NetworkPolicy says whether a container's commands have a network, by buildah's numbers.
type NetworkPolicy int

// The policies.
const (
	NetworkDefault NetworkPolicy = iota
	NetworkDisabled
	NetworkEnabled
)

// String is buildah's name of the policy.
func (p NetworkPolicy) String() string {
	switch p {
	case NetworkDisabled:
		return "NetworkDisabled"
	case NetworkEnabled:
		return "NetworkEnabled"
	case NetworkDefault:
	}
	return "NetworkDefault"
}

// Namespace says which namespace of a kind commands get.
type Namespace struct {
	Name string `json:"Name"`
	Host bool   `json:"Host"`
	Path string `json:"Path"`
}

// network is the name of the namespace that NetworkPolicy is about.
const network = "network"

func usualNamespaces() []Namespace {
	return []Namespace{{Name: "cgroup", Host: true}, {Name: "ipc"}, {Name: "mount"}, {Name: network}, {Name: "pid"},
		{Name: "user", Host: true}, {Name: "uts"}}
}

func (s *State) setNamespace(n Namespace) {
	for i := range s.Namespaces {
		if s.Namespaces[i].Name == n.Name {
			s.Namespaces[i] = n
			return
		}
	}
	s.Namespaces = append(s.Namespaces, n)
}

// Common are settings of commands, with the names that buildah gives them. Sizes are in bytes.
type Common struct {
	AddHost            []string `json:"AddHost"`
	OmitHistory        bool     `json:"OmitHistory"`
	CgroupParent       string   `json:"CgroupParent"`
	CPUPeriod          uint64   `json:"CPUPeriod"`
	CPUQuota           int64    `json:"CPUQuota"`
	CPUShares          uint64   `json:"CPUShares"`
	CPUSetCPUs         string   `json:"CPUSetCPUs"`
	CPUSetMems         string   `json:"CPUSetMems"`
	HTTPProxy          bool     `json:"HTTPProxy"`
	IdentityLabel      int      `json:"IdentityLabel,omitempty"`
	Memory             int64    `json:"Memory"`
	DNSSearch          []string `json:"DNSSearch"`
	DNSServers         []string `json:"DNSServers"`
	DNSOptions         []string `json:"DNSOptions"`
	LabelOpts          []string `json:"LabelOpts"`
	MemorySwap         int64    `json:"MemorySwap"`
	NoHosts            bool     `json:"NoHosts"`
	OmitTimestamp      bool     `json:"OmitTimestamp"`
	SeccompProfilePath string   `json:"SeccompProfilePath"`
	ApparmorProfile    string   `json:"ApparmorProfile"`
	ShmSize            string   `json:"ShmSize"`
	Ulimit             []string `json:"Ulimit"`
	Volumes            []string `json:"Volumes"`
	Secrets            []string `json:"Secrets"`
	SSHSources         []string `json:"SSHSources"`
	OCIHooksDir        []string `json:"OCIHooksDir"`
}

func usualCommon() Common {
	none := []string{}
	return Common{AddHost: none, HTTPProxy: true, DNSSearch: none, DNSServers: none, DNSOptions: none, Ulimit: none,
		Volumes: none, Secrets: none, SSHSources: none, OCIHooksDir: none, ShmSize: "65536k"}
}

// usualLimits are those that buildah writes for every container unless it is told others.
func usualLimits() []string {
	return []string{"nproc=32768:32768", "nofile=1048576:1048576", "nproc=1048576:1048576"}
}

// UsualCapabilities are those that buildah gives commands.
func UsualCapabilities() []string {
	return []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
		"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}
}

// capAll stands for all capabilities.
const capAll = "ALL"

// normalized are capabilities as the kernel names them.
func normalized(names []string) (all []string) {
	for _, n := range names {
		n = strings.ToUpper(n)
		if n != capAll && !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		all = append(all, n)
	}
	return all
}
