package link

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Constants of linux/veth.h and linux/if_link.h that package unix lacks.
const (
	vethInfoPeer    = 1
	addrGenModeAttr = 8 // IFLA_INET6_ADDR_GEN_MODE
	addrGenModeNone = 1
	gsoMaxSegsAttr  = 40 // IFLA_GSO_MAX_SEGS
)

// request is one request of rtnetlink. Its numbers are in the machine's order, as the kernel has them.
type request struct {
	doing string // for the error: "add an address"
	data  []byte
	// mayFail tells that the answer is not looked at.
	mayFail bool
}

// newRequest begins a request with the fixed part body, a struct ifinfomsg or the like.
func newRequest(doing string, kind, flags uint16, body []byte) *request {
	head := binary.NativeEndian.AppendUint32(nil, 0) // the length, which bytes fills in
	head = binary.NativeEndian.AppendUint16(head, kind)
	head = binary.NativeEndian.AppendUint16(head, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	head = append(head, make([]byte, 8)...) // the sequence number, and the sender, which is the kernel's to know
	return &request{doing: doing, data: append(head, body...)}
}

// attr adds an attribute.
func (r *request) attr(kind uint16, value []byte) *request {
	r.data = binary.NativeEndian.AppendUint16(r.data, uint16(unix.SizeofRtAttr+len(value)))
	r.data = binary.NativeEndian.AppendUint16(r.data, kind)
	r.data = append(r.data, value...)
	r.data = append(r.data, make([]byte, -len(value)&(unix.NLMSG_ALIGNTO-1))...)
	return r
}

// nest adds an attribute that holds what fill adds.
func (r *request) nest(kind uint16, fill func()) {
	at := len(r.data)
	r.attr(kind, nil)
	fill()
	binary.NativeEndian.PutUint16(r.data[at:], uint16(len(r.data)-at))
}

func number(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func text(s string) []byte { return append([]byte(s), 0) }

// device is a struct ifinfomsg: the device with this index, 0 for none, and the flags that change is about.
func device(index int, flags, change uint32) []byte {
	b := append(number(unix.AF_UNSPEC), number(uint32(index))...)
	return append(append(b, number(flags)...), number(change)...)
}

// send sends the requests, one after the other, on a socket of the calling thread's network namespace.
func send(list ...*request) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("ask the kernel about the network: %w", err)
	}
	defer unix.Close(fd)
	answer := make([]byte, 8<<10)
	for _, r := range list {
		binary.NativeEndian.PutUint32(r.data, uint32(len(r.data)))
		err := unix.Sendto(fd, r.data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err == nil {
			err = acknowledged(fd, answer)
		}
		if err != nil && !r.mayFail {
			return fmt.Errorf("%s: %w", r.doing, err)
		}
	}
	return nil
}

// acknowledged reads the kernel's answer to a request: a header of 16 bytes, and a negative errno or 0.
func acknowledged(fd int, buf []byte) error {
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel's answer is no acknowledgement")
	}
	if errno := -int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}
