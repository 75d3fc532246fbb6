package link

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/netns"
	"github.com/cooperbuild/cooper/internal/thread"
)

// MTU is how many bytes a packet on a link may have. Packets never leave the machine as they are, so the most that the
// kernel allows costs least.
const MTU = 65520

// Name is the name of the step's device.
const Name = "eth0"

// loopback is the index that every network namespace gives its loopback device.
const loopback = 1

// StepMAC is the address of every step's device, which the frames on the socket have.
func StepMAC() [6]byte { return [6]byte{0x02, 0, 0, 0, 0, 0x02} }

// A Hub is a network namespace, in which nothing else is, for the far ends of links.
type Hub struct {
	ns    *os.File
	links int // how many links were made
}

// NewHub makes a Hub. Close it.
func NewHub() (*Hub, error) {
	h := &Hub{}
	err := thread.OnLost(func() (err error) {
		h.ns, err = netns.Enter()
		return err
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Close lets go of the namespace, which ends when no link uses it.
func (h *Hub) Close() error { return h.ns.Close() }

// A Link leads out of a network namespace.
type Link struct {
	NS     *os.File // the namespace, with a loopback device and one named Name
	Socket *os.File // sends and receives the frames of that device, with their Ethernet headers
}

// Close lets go of both ends.
func (l *Link) Close() {
	l.CloseSocket()
	if l.NS != nil {
		_ = l.NS.Close()
	}
}

// CloseSocket lets go of the socket. The kernel takes some milliseconds, more on a busy machine, until no processor
// looks at it; it takes no longer for many that are closed at a time.
func (l *Link) CloseSocket() {
	if l.Socket != nil {
		_ = l.Socket.Close() // of no account after the first time
	}
}

// Make makes a network namespace whose device has these addresses, one or one of each family; all that isn't for them
// goes out by the device. One call at a time may run.
func (h *Hub) Make(addresses ...netip.Addr) (*Link, error) {
	h.links++
	far := "link" + strconv.Itoa(h.links)
	l := &Link{}
	err := thread.OnLost(func() error { return h.make(l, far, addresses) })
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// make makes the link, whose far end gets the name far.
func (h *Hub) make(l *Link, far string, addresses []netip.Addr) (err error) {
	if l.NS, err = netns.Enter(); err != nil {
		return err
	}
	if err := h.connect(far); err != nil {
		return err
	}
	// The far end comes first: a device that is switched on while it leads nowhere loses packets for a while after it
	// leads somewhere.
	if err := enter(h.ns); err != nil {
		return err
	}
	if l.Socket, err = listen(far); err != nil {
		return err
	}
	if err := enter(l.NS); err != nil {
		return err
	}
	allow()
	return address(addresses)
}

// enter moves the calling thread into a network namespace.
func enter(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return nil
}

// connect makes the two devices of a link. The step's does without ARP, and cuts what a program sends in one go for the
// device to cut, since no device is behind it that would.
func (h *Hub) connect(far string) error {
	mac := StepMAC()
	pair := newRequest("make a pair of devices", unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		device(0, unix.IFF_NOARP, unix.IFF_NOARP))
	pair.attr(unix.IFLA_IFNAME, text(Name)).attr(unix.IFLA_MTU, number(MTU)).attr(unix.IFLA_ADDRESS, mac[:])
	pair.attr(gsoMaxSegsAttr, number(1))
	pair.nest(unix.IFLA_LINKINFO, func() {
		pair.attr(unix.IFLA_INFO_KIND, []byte("veth"))
		pair.nest(unix.IFLA_INFO_DATA, func() {
			pair.nest(vethInfoPeer, func() {
				pair.data = append(pair.data, device(0, unix.IFF_NOARP, unix.IFF_NOARP)...)
				pair.attr(unix.IFLA_IFNAME, text(far)).attr(unix.IFLA_MTU, number(MTU))
				pair.attr(unix.IFLA_NET_NS_FD, number(uint32(h.ns.Fd())))
			})
		})
	})
	return send(pair)
}

// up are the requests that switch a device on, with no address but those that it is given: what the kernel makes up for
// IPv6 would have it send packets by itself.
func up(index int) []*request {
	quiet := newRequest("keep addresses from a device", unix.RTM_NEWLINK, 0, device(index, 0, 0))
	quiet.nest(unix.IFLA_AF_SPEC, func() {
		quiet.nest(unix.AF_INET6, func() { quiet.attr(addrGenModeAttr, []byte{addrGenModeNone}) })
	})
	quiet.mayFail = true // without IPv6 there is nothing to keep
	return []*request{
		quiet, newRequest("switch on a device", unix.RTM_NEWLINK, 0, device(index, unix.IFF_UP, unix.IFF_UP)),
	}
}

// address switches on the devices of the step and gives its own the addresses. IPv6 may be missing: machines have it
// switched off.
func address(addresses []netip.Addr) error {
	index, err := indexOf(Name)
	if err != nil {
		return err
	}
	list := append(up(index),
		newRequest("switch on the loopback device", unix.RTM_NEWLINK, 0, device(loopback, unix.IFF_UP, unix.IFF_UP)))
	for _, a := range addresses {
		family, bits := byte(unix.AF_INET), byte(a.BitLen())
		if a.Is6() {
			family = unix.AF_INET6
		}
		own := newRequest("give a device its address", unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
			append([]byte{family, bits, unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE}, number(uint32(index))...))
		own.attr(unix.IFA_LOCAL, a.AsSlice()).attr(unix.IFA_ADDRESS, a.AsSlice())
		out := newRequest("make a route", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
			append([]byte{family, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST},
				number(0)...))
		out.attr(unix.RTA_OIF, number(uint32(index)))
		own.mayFail, out.mayFail = a.Is6(), a.Is6()
		list = append(list, own, out)
		if a.Is6() {
			list = append(list, localRoute(a, index))
		}
	}
	return send(list...)
}

// localRoute is the request that has an address of IPv6 taken for the namespace's own. The kernel makes such a route by
// itself, but later, and until then drops what comes for the address. Of two routes the one with the smaller number
// counts, which is the kernel's.
func localRoute(a netip.Addr, index int) *request {
	const later = 1 << 20
	r := newRequest("make the route to an address", unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		append([]byte{unix.AF_INET6, byte(a.BitLen()), 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_KERNEL, unix.RT_SCOPE_UNIVERSE,
			unix.RTN_LOCAL}, number(0)...))
	r.attr(unix.RTA_DST, a.AsSlice()).attr(unix.RTA_OIF, number(uint32(index))).attr(unix.RTA_PRIORITY, number(later))
	r.mayFail = true
	return r
}

// allow gives every process of the namespace what container engines give it: ports below 1024, and ping without
// privileges. A machine that shows /proc/sys read-only keeps its own settings.
func allow() {
	_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
	for _, last := range []string{"2147483647", "65536", "65535", "0"} { // it must be a group of the user namespace
		if os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 "+last), 0) == nil {
			return
		}
	}
}

// listen switches on the far end of a link and gives the socket for its frames.
func listen(far string) (*os.File, error) {
	index, err := indexOf(far)
	if err != nil {
		return nil, err
	}
	if err := send(up(index)...); err != nil {
		return nil, err
	}
	const kind = unix.SOCK_RAW | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(unix.AF_PACKET, kind, 0) // it receives nothing until it is bound
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	socket := os.NewFile(uintptr(fd), far)
	// The kernel allows more than its usual limit to root of the machine only.
	const room = 8 << 20
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, room)
	// For the same reason frames go to the device itself, not by a queue.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("set up a packet socket: %w", err)
	}
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("bind a packet socket: %w", err)
	}
	return socket, nil
}

// indexOf gives the index of a device of the calling thread's network namespace.
func indexOf(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("find the device %s: %w", name, err)
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifreq)
	}
	if err != nil {
		return 0, fmt.Errorf("find the device %s: %w", name, err)
	}
	return int(ifreq.Uint32()), nil
}
