package engineload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/engine"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// envEngine hands the connection to docker's engine over to the process in the namespace, where the user's groups, by
// which the socket may be reached, are gone. It is the number of a descriptor, or none if there is no engine.
const envEngine = "_COOPER_ENGINE"

// EnvHost says where docker's engine is.
const EnvHost = "DOCKER_HOST"

// engineHost is where the engine is that images are loaded into; empty: nobody has said that there is one.
func engineHost(d dialect.Dialect) string {
	if host := os.Getenv(EnvHost); host != "" {
		return host
	}
	if path := strings.TrimPrefix(engine.DefaultHost, "unix://"); d == dialect.Docker {
		if _, err := os.Stat(path); err == nil {
			return engine.DefaultHost
		}
	}
	return ""
}

// Open connects to docker's engine, or finds the connection that the process outside the namespace has made. It
// is nil if there is no engine; note says so then, if one was named.
func Open(ctx context.Context, env command.Env) (conn net.Conn, note string, err error) {
	host := engineHost(env.Dialect)
	if host == "" {
		return nil, "", nil
	}
	number, inherited := os.LookupEnv(envEngine)
	switch {
	case inherited && env.Inside && number == "":
		return nil, noEngine(host), os.Unsetenv(envEngine)
	case inherited && env.Inside:
		fd, err := strconv.Atoi(number)
		if err != nil {
			return nil, "", fmt.Errorf("%s=%s: %w", envEngine, number, err)
		}
		f := os.NewFile(uintptr(fd), host)
		conn, err = net.FileConn(f)
		return conn, "", errors.Join(err, f.Close(), os.Unsetenv(envEngine))
	}
	conn, err = engine.Dial(ctx, host)
	if errors.Is(err, engine.ErrNoEngine) {
		return nil, noEngine(host), nil
	}
	return conn, "", err
}

func noEngine(host string) string {
	return fmt.Sprintf("the image is in the local store only: no engine listens at %s", host)
}

// HandOver gives the variable by which the process in the namespace finds the connection.
func HandOver(env command.Env, conn net.Conn) ([]string, error) {
	if env.Stays() {
		return nil, nil
	}
	number := ""
	if c, ok := conn.(interface{ File() (*os.File, error) }); ok {
		f, err := c.File()
		if err != nil {
			return nil, err
		}
		fd := int(f.Fd())
		if err := command.Inherit(fd); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		number = strconv.Itoa(fd)
	}
	return []string{envEngine + "=" + number}, nil
}

// Load gives an image to the engine that conn leads to, and closes conn; a nil conn is no engine.
func Load(ctx context.Context, conn net.Conn, s *build.Session, all []build.Result, to progress.Sink) (err error) {
	if conn == nil {
		return nil
	}
	secure, err := engine.Secure(conn, os.Getenv(EnvHost))
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	e := engine.New(secure)
	defer func() { err = errors.Join(err, e.Close()) }()
	for _, res := range all {
		if err := e.Load(ctx, s, res.ImageID.String(), res.Names, to); err != nil {
			return err
		}
	}
	return nil
}
