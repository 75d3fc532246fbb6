package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// hostMark stands in a Containerfile for the address of the target.
	hostMark = "TARGET"
	// netBytes is how much net-download fetches, netCalls how many connections net-connections makes, netCallers at a
	// time.
	netBytes   = 1 << 30
	netCalls   = 2000
	netCallers = 8
	// connectCommand has this program make connections.
	connectCommand = "connect"
)

// A target is a web server at the address that this machine has outside, which steps in a private network reach as they
// reach any other machine.
type target struct {
	listen net.Listener
	http   *http.Server
}

// newTarget starts a target. The caller closes it.
func newTarget(ctx context.Context) (*target, error) {
	c, err := new(net.Dialer).DialContext(ctx, "udp", "192.0.2.1:9") // nothing is sent
	if err != nil {
		return nil, fmt.Errorf("find this machine's address: %w", err)
	}
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, fmt.Errorf("find this machine's address: %w", err)
	}
	t := &target{}
	if t.listen, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_, _ = io.CopyN(w, zeros{}, n) // who has gone away doesn't matter
	})
	t.http = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = guard.Call(func() error { return t.http.Serve(t.listen) }) }() // close ends it
	return t, nil
}

func (t *target) close() error { return t.http.Close() }

// zeros is bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// connect makes n connections to a target, each for one short answer.
func connect(ctx context.Context, address string, n int) error {
	var group errgroup.Group
	group.SetLimit(netCallers)
	for range n {
		group.Go(guard.Func(func() error {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c, "GET /bytes/1 HTTP/1.0\r\nHost: %s\r\n\r\n", address)
			if err == nil {
				_, err = io.Copy(io.Discard, c)
			}
			return errors.Join(err, c.Close())
		}))
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	return nil
}

// inNetwork is a build of the row's Containerfile by cooper, in a network; its steps have this program as /bench.
func inNetwork(kind string) action {
	return func(b *bench, s *site, _ int) []string {
		return b.buildArgs(s, "--no-cache", "--network="+kind, "--volume", b.self+":/bench:ro")
	}
}

// hostsLimit is the same build in the host's network.
func hostsLimit() limit {
	return limit{"the same build with `--network=host`", func(ctx context.Context, b *bench, s *site, n int) error {
		_, _, err := s.run(ctx, inNetwork("host")(b, s, n)...)
		return err
	}}
}

// networkRows are those of steps with a network of their own.
func networkRows() []row {
	const runs = 20
	in := func(id, work, steps string, g goal) row {
		return row{ID: id, Work: work, Containerfile: fromBase + "\n" + steps, Target: true, Fresh: true, Command: inNetwork("private"),
			Limit: hostsLimit(), Goal: g}
	}
	return []row{
		in("step-private", fmt.Sprintf("%d x `RUN true`, each with a network of its own", runs),
			strings.Repeat("RUN true\n", runs), goal{More: runs * 4 * time.Millisecond}),
		in("net-download", "1 GiB fetched by a RUN into a file",
			fmt.Sprintf("RUN /bench %s http://%s/bytes/%d >/file\n", fetchCommand, hostMark, netBytes),
			goal{OfLimit: 1.43}),
		in("net-connections", fmt.Sprintf("%d connections made by a RUN, %d at a time", netCalls, netCallers),
			fmt.Sprintf("RUN /bench %s %s %d\n", connectCommand, hostMark, netCalls), goal{Wall: 2300 * time.Millisecond}),
	}
}
