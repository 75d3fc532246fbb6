package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"time"
)

// maxKeyFile is the largest private key file in bytes.
const maxKeyFile = 100 << 10

// dialTime is how long the user's agent may take to answer a call.
const dialTime = 5 * time.Second

// An Agent holds keys. It may be used by any number of connections at the same time.
type Agent struct {
	socket string
	keys   []*key
}

// Open finds out what the paths are: one socket of an agent, or one or more private key files, which are read. Keys
// with a passphrase are refused.
func Open(paths []string) (*Agent, error) {
	a := &Agent{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.Mode().Type() == os.ModeSocket {
			if len(paths) > 1 {
				return nil, fmt.Errorf("%s is a socket: an agent's socket can't be given together with others or with keys", path)
			}
			a.socket = path
			return a, nil
		}
		k, err := readKey(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		a.keys = append(a.keys, k)
	}
	if len(a.keys) == 0 {
		return nil, errors.New("neither a socket nor a key is given")
	}
	return a, nil
}

// OpenAll opens the agents of --ssh, by ID: each of the paths that Open takes.
func OpenAll(given map[string][]string) (map[string]*Agent, error) {
	agents := map[string]*Agent{}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(given)) {
		a, err := Open(given[id])
		if err != nil {
			errs = append(errs, fmt.Errorf("--ssh %s: %w", id, err))
		}
		agents[id] = a
	}
	return agents, errors.Join(errs...)
}

func readKey(path string) (*key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, errors.New("too large for a private key")
	}
	return parseKey(text)
}

// Serve answers requests until the peer hangs up, breaks the protocol, or ctx ends.
func (a *Agent) Serve(ctx context.Context, conn net.Conn) {
	upstream := &upstream{agent: a}
	defer upstream.close()
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close()
		upstream.close()
	})
	defer stop()
	for {
		request, err := readMessage(conn)
		if err != nil {
			return
		}
		if writeMessage(conn, a.answer(ctx, upstream, request)) != nil {
			return
		}
	}
}

// answer never fails: what can't be answered is a failure to the peer.
func (a *Agent) answer(ctx context.Context, u *upstream, request []byte) []byte {
	refused := []byte{failure}
	switch request[0] {
	case requestIdentities, signRequest:
	default:
		return refused
	}
	if a.socket != "" {
		answer, err := u.ask(ctx, request)
		if err != nil || !slices.Contains([]byte{failure, identitiesAnswer, signResponse}, answer[0]) {
			return refused
		}
		return answer
	}
	if request[0] == requestIdentities {
		return a.list()
	}
	answer, err := a.sign(request[1:])
	if err != nil {
		return refused
	}
	return answer
}
