package scope_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/cooperbuild/cooper/executor/internal/scope"
)

// bus is a bus with systemd, as far as a scope needs it.
type bus struct {
	t      *testing.T
	result string         // of the job
	asked  map[string]any // the properties that the scope was asked for with, and "" its name
}

// serve answers one connection.
func (b *bus) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	if _, err := in.ReadByte(); err != nil { // the zero byte before all else
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "AUTH": // who is there the bus sees by the socket
			answer := "REJECTED EXTERNAL\r\n"
			if strings.Contains(line, "EXTERNAL") {
				answer = "DATA\r\n"
			}
			fmt.Fprint(conn, answer)
		case "DATA":
			fmt.Fprint(conn, "OK 1234\r\n")
		case "NEGOTIATE_UNIX_FD":
			fmt.Fprint(conn, "ERROR\r\n")
		case "BEGIN":
			b.messages(conn, in)
			return
		}
	}
}

func (b *bus) messages(conn net.Conn, in *bufio.Reader) {
	send := func(m *dbus.Message) {
		if err := m.EncodeTo(conn, binary.LittleEndian); err != nil {
			b.t.Error(err)
		}
	}
	job := dbus.ObjectPath("/org/freedesktop/systemd1/job/7")
	for {
		m, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		var body []any
		member := m.Headers[dbus.FieldMember].Value()
		switch member {
		case "Hello":
			body = []any{":1.1"}
		case "StartTransientUnit":
			b.asked = map[string]any{"": m.Body[0]}
			for _, p := range m.Body[2].([][]any) {
				b.asked[p[0].(string)] = p[1].(dbus.Variant).Value()
			}
			body = []any{job}
		}
		send(reply(m, body))
		if member == "StartTransientUnit" {
			for path, result := range map[dbus.ObjectPath]string{"/another/job": "failed", job: b.result} {
				send(removed(path, result))
			}
		}
	}
}

func reply(to *dbus.Message, body []any) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeMethodReply, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(to.Serial()), dbus.FieldSender: dbus.MakeVariant("org.freedesktop.DBus"),
	}}
	if len(body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	return m
}

func removed(job dbus.ObjectPath, result string) *dbus.Message {
	body := []any{uint32(7), job, "x.scope", result}
	return &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/systemd1")),
		dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.systemd1.Manager"),
		dbus.FieldMember:    dbus.MakeVariant("JobRemoved"), dbus.FieldSender: dbus.MakeVariant(":1.0"),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(body...)),
	}}
}

func TestSystemdIsAskedForAScopeThatTheUserMayDivide(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "bus"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	b := &bus{t: t, result: "done"}
	served := make(chan struct{})
	connections := 0
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections++
			b.serve(conn)
		}
	}()
	address := scope.Address(func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": dir}[name] })
	if err := scope.Enter(context.Background(), address, ""); err != nil {
		t.Fatal(err)
	}
	name, _ := b.asked[""].(string)
	if !strings.HasPrefix(name, "cooper-") || !strings.HasSuffix(name, ".scope") || b.asked["Delegate"] != true ||
		b.asked["Slice"] != "user.slice" || fmt.Sprint(b.asked["PIDs"]) != fmt.Sprintf("[%d]", os.Getpid()) {
		t.Errorf("asked for %v", b.asked)
	}
	b.result = "failed"
	err = scope.Enter(context.Background(), address, "mine.slice")
	if err == nil || !strings.Contains(err.Error(), "systemd says: failed") || b.asked["Slice"] != "mine.slice" {
		t.Errorf("%v, asked for %v", err, b.asked)
	}
	_ = l.Close()
	<-served
	if connections != 2 {
		t.Errorf("%d connections", connections)
	}
	if err := scope.Enter(context.Background(), address, ""); err == nil {
		t.Error("a bus that isn't there was asked")
	}
	if at := scope.Address(func(string) string { return "" }); at != "" {
		t.Errorf("%q", at)
	}
}
