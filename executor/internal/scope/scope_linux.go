package scope

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of systemd's on the bus.
const (
	service = "org.freedesktop.systemd1"
	manager = service + ".Manager"
	object  = "/org/freedesktop/systemd1"
)

// usualSlice is where scopes are that nobody wants elsewhere, as podman's are.
const usualSlice = "user.slice"

// patience is how long systemd may take to make a scope.
const patience = 10 * time.Second

// Address is where the user's bus is, "" if no variable says so.
func Address(get func(string) string) string {
	if at := get("DBUS_SESSION_BUS_ADDRESS"); at != "" {
		return at
	}
	dir := get("XDG_RUNTIME_DIR")
	if dir == "" {
		return ""
	}
	socket := filepath.Join(dir, "bus")
	if st, err := os.Stat(socket); err != nil || st.Mode()&os.ModeSocket == 0 {
		return ""
	}
	return "unix:path=" + socket
}

// property is one of a unit.
type property struct {
	Name  string
	Value dbus.Variant
}

// auxiliary is a unit to be made with another.
type auxiliary struct {
	Name       string
	Properties []property
}

// Enter has systemd move this process into a new scope in a slice, or in the usual one if that is empty, and waits
// until it has. The scope ends with its last process.
func Enter(ctx context.Context, address, slice string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := enter(ctx, address, slice); err != nil {
		return fmt.Errorf("ask systemd for a control group: %w", err)
	}
	return nil
}

func enter(ctx context.Context, address, slice string) (err error) {
	conn, err := connect(ctx, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	if slice == "" {
		slice = usualSlice
	}
	name := fmt.Sprintf("cooper-%d-%d.scope", os.Getpid(), time.Now().UnixNano())
	properties := []property{
		{"Description", dbus.MakeVariant("steps of cooper " + strconv.Itoa(os.Getpid()))},
		{"PIDs", dbus.MakeVariant([]uint32{uint32(os.Getpid())})},
		{"Slice", dbus.MakeVariant(slice)},
		{"Delegate", dbus.MakeVariant(true)},
		{"DefaultDependencies", dbus.MakeVariant(false)},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	}
	ended := make(chan *dbus.Signal, 16)
	conn.Signal(ended)
	err = conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface(manager), dbus.WithMatchMember("JobRemoved"))
	if err != nil {
		return err
	}
	var job dbus.ObjectPath
	err = conn.Object(service, object).CallWithContext(ctx, manager+".StartTransientUnit", 0, name, "fail", properties,
		[]auxiliary{}).Store(&job)
	if err != nil {
		return err
	}
	return wait(ctx, ended, job)
}

// connect opens a connection as the user, whom the bus knows by the socket, whatever the user namespace.
func connect(ctx context.Context, address string) (*dbus.Conn, error) {
	conn, err := dbus.Dial(address, dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal("")}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := conn.Hello(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// wait waits for the end of a job, whose signal is JobRemoved(ID, JOB, UNIT, RESULT).
func wait(ctx context.Context, ended <-chan *dbus.Signal, job dbus.ObjectPath) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case s, ok := <-ended:
			if !ok {
				return errors.New("the connection has ended")
			}
			if len(s.Body) < 4 || s.Body[1] != job {
				continue
			}
			if result := s.Body[3]; result != "done" {
				return fmt.Errorf("systemd says: %v", result)
			}
			return nil
		}
	}
}
