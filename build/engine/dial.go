package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// DefaultHost is where docker's engine listens unless DOCKER_HOST says otherwise.
const DefaultHost = "unix:///var/run/docker.sock"

// ErrNoEngine says that nothing listens at a socket of this machine.
var ErrNoEngine = errors.New("no engine is there")

// connectPatience is how long an engine may take to accept a connection.
const connectPatience = 10 * time.Second

// Dial connects to the engine at a host, as DOCKER_HOST names it: unix://PATH or tcp://HOST:PORT. The error is
// ErrNoEngine if the host is a socket that nobody listens at.
func Dial(ctx context.Context, host string) (net.Conn, error) {
	network, address, ok := strings.Cut(host, "://")
	switch {
	case ok && network == "unix" && address != "", ok && network == "tcp" && address != "":
	default:
		return nil, fmt.Errorf("docker's engine %q: must be unix://PATH or tcp://HOST:PORT\n"+
			"hint: cooper save NAME | ssh HOST docker load reaches an engine over ssh", host)
	}
	d := net.Dialer{Timeout: connectPatience}
	conn, err := d.DialContext(ctx, network, strings.TrimSuffix(address, "/"))
	if err == nil {
		return conn, nil
	}
	gone := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
	if network == "unix" && gone {
		return nil, fmt.Errorf("%s: %w", host, ErrNoEngine)
	}
	return nil, fmt.Errorf("docker's engine: %w", err)
}

// Secure has a connection to tcp://HOST encrypted, if docker's variables ask for that.
func Secure(conn net.Conn, host string) (net.Conn, error) {
	if !strings.HasPrefix(host, "tcp://") || os.Getenv("DOCKER_TLS_VERIFY") == "" && os.Getenv("DOCKER_TLS") == "" {
		return conn, nil
	}
	dir := os.Getenv("DOCKER_CERT_PATH")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("docker's certificates: %w", err)
		}
		dir = filepath.Join(home, ".docker")
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, fmt.Errorf("docker's certificates: %w", err)
	}
	name, _, err := net.SplitHostPort(strings.TrimPrefix(host, "tcp://"))
	if err != nil {
		return nil, fmt.Errorf("docker's engine %q: %w", host, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}, ServerName: name}
	if os.Getenv("DOCKER_TLS_VERIFY") == "" {
		c.InsecureSkipVerify = true // DOCKER_TLS alone encrypts and verifies nothing, as with docker
		return tls.Client(conn, c), nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("docker's certificates: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("docker's certificates: %s has none", filepath.Join(dir, "ca.pem"))
	}
	return tls.Client(conn, c), nil
}
