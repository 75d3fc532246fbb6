package container

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/step"
)

const (
	maxResolvConf = 64 << 10 // bytes of the caller's file that are read
	maxHosts      = 1 << 20  // bytes that a hosts file may have
	resolvFile    = "etc/resolv.conf"
	hostsName     = "etc/hosts"
)

// names gives the files of name resolution for the step, by their names in its root.
func names(s step.Step, hostname string, root *os.File) (map[string][]byte, error) {
	texts := map[string][]byte{}
	if !s.Hosts.None {
		base, err := hostsBase(s.Hosts.From, hostname, root)
		if err != nil {
			return nil, err
		}
		if texts[hostsName], err = hostsFile(base, s); err != nil {
			return nil, err
		}
	}
	resolv, err := resolvConf(withNameServer(s), s.Network)
	if err != nil {
		return nil, err
	}
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

// hostsBase gives the lines of the step's /etc/hosts that aren't asked for one by one.
func hostsBase(from, hostname string, root *os.File) ([]byte, error) {
	var f *os.File
	var err error
	switch from {
	case "":
		own := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + hostname + "\n"
		return []byte(own), nil
	case step.HostsEmpty:
		return nil, nil
	case step.HostsOfImage:
		f, err = inroot.Open(root, hostsName, unix.O_RDONLY|unix.O_NONBLOCK)
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
	default:
		f, err = os.OpenFile(from, os.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("read hosts file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxHosts+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read hosts file: %w", err)
	case len(data) > maxHosts:
		return nil, fmt.Errorf("hosts file %s: larger than %d KiB", from, maxHosts>>10)
	case len(data) > 0 && data[len(data)-1] != '\n':
		data = append(data, '\n')
	}
	return data, nil
}

// hostsFile gives the text of the step's /etc/hosts.
func hostsFile(base []byte, s step.Step) ([]byte, error) {
	gateway := "127.0.0.1" // a step in the host's network
	if s.HostGateway.IsValid() {
		gateway = s.HostGateway.String()
	}
	var b strings.Builder
	b.Write(base)
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
		fmt.Fprintf(&b, "%s\t%s\n", ip, strings.ReplaceAll(name, ";", " ")) // podman has several names at one address
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
