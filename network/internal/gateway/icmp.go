package gateway

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/cooperbuild/cooper/network/internal/link"
)

// tell sends the step an ICMP message from an address outside.
func (g *Gateway) tell(protocol tcpip.NetworkProtocolNumber, from, to netip.Addr, message []byte) error {
	mac := link.StepMAC()
	data := buffer.MakeWithData(packet(from, to, icmpOf(to), sum(from, to, message)))
	if err := g.stack.WritePacketToRemote(nic, tcpip.LinkAddress(mac[:]), protocol, data); err != nil {
		return failed("tell the step", err)
	}
	return nil
}

// refuse tells the step that nobody listens where it has sent a packet of UDP to.
func (g *Gateway) refuse(id stack.TransportEndpointID) error {
	from, to := address(id.RemoteAddress), address(id.LocalAddress)
	datagram := make([]byte, header.UDPMinimumSize)
	header.UDP(datagram).Encode(&header.UDPFields{
		SrcPort: id.RemotePort, DstPort: id.LocalPort, Length: header.UDPMinimumSize,
	})
	message := unreachable(to, byte(header.ICMPv4PortUnreachable), byte(header.ICMPv6PortUnreachable),
		packet(from, to, header.UDPProtocolNumber, datagram))
	return g.tell(networkOf(to), to, from, message)
}

func networkOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

func icmpOf(a netip.Addr) tcpip.TransportProtocolNumber {
	if a.Is4() {
		return header.ICMPv4ProtocolNumber
	}
	return header.ICMPv6ProtocolNumber
}

// unreachable is the message that a packet to this address got nowhere, with the code of its family.
func unreachable(to netip.Addr, code4, code6 byte, packet []byte) []byte {
	const head, most = 8, 128
	message := make([]byte, head, head+most)
	message[0], message[1] = byte(header.ICMPv4DstUnreachable), code4
	if to.Is6() {
		message[0], message[1] = byte(header.ICMPv6DstUnreachable), code6
	}
	return append(message, packet[:min(len(packet), most)]...)
}

// sum gives a copy of an ICMP message with its checksum.
func sum(from, to netip.Addr, message []byte) []byte {
	message = slices.Clone(message)
	binary.BigEndian.PutUint16(message[2:], 0)
	if to.Is4() {
		binary.BigEndian.PutUint16(message[2:], ^checksum.Checksum(message, 0))
		return message
	}
	binary.BigEndian.PutUint16(message[2:], header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: message, Src: tcpip.AddrFrom16(from.As16()), Dst: tcpip.AddrFrom16(to.As16()),
	}))
	return message
}

// packet is an IP packet.
func packet(from, to netip.Addr, kind tcpip.TransportProtocolNumber, payload []byte) []byte {
	const ttl = 64
	if to.Is4() {
		b := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(payload))
		h := header.IPv4(b)
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(header.IPv4MinimumSize + len(payload)), TTL: ttl, Protocol: uint8(kind),
			SrcAddr: tcpip.AddrFrom4(from.As4()), DstAddr: tcpip.AddrFrom4(to.As4()),
		})
		h.SetChecksum(^h.CalculateChecksum())
		return append(b, payload...)
	}
	b := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(payload))
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(payload)), TransportProtocol: kind, HopLimit: ttl,
		SrcAddr: tcpip.AddrFrom16(from.As16()), DstAddr: tcpip.AddrFrom16(to.As16()),
	})
	return append(b, payload...)
}
