package container

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/executor/step"
)

const (
	maxResolvConf = 64 << 10 // bytes of the caller's file that are read
	resolvFile    = "etc/resolv.conf"
	hostsName     = "etc/hosts"
)

// names gives the files of name resolution for the step, by their names in its root.
func names(s step.Step, hostname string) (map[string][]byte, error) {
	hosts, err := hostsFile(hostname, s)
	if err != nil {
		return nil, err
	}
	resolv, err := resolvConf(withNameServer(s), s.Network)
	if err != nil {
		return nil, err
	}
	texts := map[string][]byte{hostsName: hosts}
	if !s.DNS.None {
		texts[resolvFile] = resolv
	}
	return texts, nil
}

// withNameServer gives the step's settings, with the name server of its network if it has no other.
func withNameServer(s step.Step) step.DNS {
	d := s.DNS
	if s.NameServer.IsValid() && len(d.Servers) == 0 {
		d.Servers = []string{s.NameServer.String()}
	}
	return d
}

// hostsFile gives the text of the step's /etc/hosts.
func hostsFile(hostname string, s step.Step) ([]byte, error) {
	gateway := "127.0.0.1" // a step in the host's network
	if s.HostGateway.IsValid() {
		gateway = s.HostGateway.String()
	}
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "127.0.1.1\t%s\n", hostname)
	for _, line := range s.AddHosts {
		name, address := line, ""
		if i := strings.IndexAny(line, ":="); i >= 0 { // the first of them, for an IPv6 address has colons
			name, address = line[:i], line[i+1:]
		}
		if address == "host-gateway" {
			address = gateway
		}
		ip, err := netip.ParseAddr(strings.Trim(address, "[]"))
		if err != nil || name == "" || strings.ContainsAny(name, " \t\n#") {
			return nil, fmt.Errorf("host %q: want NAME:ADDRESS", line)
		}
		fmt.Fprintf(&b, "%s\t%s\n", ip, name)
	}
	return []byte(b.String()), nil
}

func isZero(d step.DNS) bool { return len(d.Servers)+len(d.Search)+len(d.Options) == 0 }

// resolvConf gives the step's /etc/resolv.conf: the caller's own, with the settings that DNS replaces.
func resolvConf(d step.DNS, network string) ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	var callers []byte
	if network != step.NetworkNone {
		var err error
		if callers, err = readResolvConf(); err != nil {
			return nil, err
		}
	}
	if isZero(d) {
		return callers, nil
	}
	return replace(d, callers), nil
}

// replace removes the lines of a resolv.conf for which d has settings, and adds those of d at the end.
func replace(d step.DNS, conf []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(conf)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if len(d.Servers) > 0 {
				continue
			}
		case "search", "domain":
			if len(d.Search) > 0 {
				continue
			}
		case "options":
			if len(d.Options) > 0 {
				continue
			}
		}
		b.WriteString(strings.TrimRight(line, "\n") + "\n")
	}

	if search := slices.DeleteFunc(slices.Clone(d.Search), func(s string) bool { return s == "." }); len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	for _, s := range d.Servers {
		b.WriteString("nameserver " + s + "\n")
	}

	if len(d.Options) > 0 {
		b.WriteString("options " + strings.Join(d.Options, " ") + "\n")
	}
	return []byte(b.String())
}

func readResolvConf() ([]byte, error) {
	f, err := os.Open("/" + resolvFile)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return nil, fmt.Errorf("read resolv.conf: %w", err)
	}
	return data, nil
}
