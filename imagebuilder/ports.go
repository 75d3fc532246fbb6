package imagebuilder

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

const maxPort = 65535

// Ports is what one word of EXPOSE means.
type Ports struct {
	// Keys are "PORT/PROTOCOL", in ascending order.
	Keys []string
	// HostPart is true if the word names a host address or port, which has no meaning in EXPOSE.
	HostPart bool
	// UpperCase is true if the protocol is not written in lower case.
	UpperCase bool
}

// ParsePorts reads PORT[-PORT][/PROTOCOL], where the protocol is tcp (the default), udp or sctp. Docker's
// [IP:][HOSTPORT:] in front is checked and dropped.
func ParsePorts(word string) (Ports, error) {
	host, rest := "", word
	if cut := strings.LastIndexByte(word, ':'); cut >= 0 {
		host, rest = word[:cut], word[cut+1:]
	}

	rest, protocol, _ := strings.Cut(rest, "/")
	if protocol == "" {
		protocol = "tcp"
	}

	p := Ports{HostPart: host != "", UpperCase: protocol != strings.ToLower(protocol)}
	protocol = strings.ToLower(protocol)
	switch protocol {
	case "tcp", "udp", "sctp":
	default:
		return Ports{}, fmt.Errorf("%q is not a protocol: use tcp, udp or sctp", protocol)
	}

	first, last, err := portRange(rest)
	if err != nil {
		return Ports{}, err
	}
	if host != "" {
		if err := checkHostPart(host, last-first); err != nil {
			return Ports{}, err
		}
	}

	p.Keys = make([]string, 0, last-first+1)
	for port := first; port <= last; port++ {
		p.Keys = append(p.Keys, strconv.Itoa(port)+"/"+protocol)
	}
	return p, nil
}

// checkHostPart checks [IP:][HOSTPORT]; span is the number of the container's ports less one, which a range of host
// ports must match.
func checkHostPart(host string, span int) error {
	address, port := "", host
	if cut := strings.LastIndexByte(host, ':'); cut >= 0 {
		address, port = host[:cut], host[cut+1:]
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	if address != "" && net.ParseIP(address) == nil {
		return fmt.Errorf("%q is not an IP address", address)
	}
	if port == "" {
		return nil
	}
	first, last, err := portRange(port)
	if err != nil {
		return err
	}
	if span != 0 && last-first != span {
		return fmt.Errorf("host port range %q is not as long as the container's", port)
	}
	return nil
}

func portRange(text string) (first, last int, err error) {
	from, to, isRange := strings.Cut(text, "-")
	if first, err = portNumber(from); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = portNumber(to); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("port range %q ends before it starts", text)
	}
	return first, last, nil
}

func portNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxPort {
		return 0, fmt.Errorf("%q is not a port number between 0 and %d", text, maxPort)
	}
	return n, nil
}
