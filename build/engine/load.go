package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/archives"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/internal/guard"
)

// maxAnswer is how many bytes of an answer are read: those of engines are some lines.
const maxAnswer = 1 << 20

// Engine is docker's engine at the other end of a connection. The caller closes it.
type Engine struct {
	client *http.Client
	conn   net.Conn
}

// New speaks to an engine over an open connection, the only one it has.
func New(conn net.Conn) *Engine {
	once := make(chan net.Conn, 1)
	once <- conn
	dial := func(context.Context, string, string) (net.Conn, error) {
		select {
		case c := <-once:
			return c, nil
		default:
			return nil, errors.New("the engine has closed the connection")
		}
	}
	return &Engine{conn: conn, client: &http.Client{Transport: &http.Transport{
		DialContext: dial, MaxConnsPerHost: 1, DisableCompression: true,
	}}}
}

// Close closes the connection.
func (e *Engine) Close() error {
	e.client.CloseIdleConnections()
	if err := e.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Load gives the image of a session's store to the engine, under all the names, of which the first or, without any, the
// ID leads to it. It gives nothing to an engine on the same store.
func (e *Engine) Load(ctx context.Context, s *session.Session, id string, names []string, to progress.Sink) error {
	d, err := s.Depot(ctx)
	if err != nil {
		return err
	}
	same, err := e.isOn(ctx, d.Store.Paths().Root)
	if err != nil || same {
		return err
	}
	which := names
	if len(which) == 0 {
		which = []string{id}
	}
	shown := progress.NewAsides(to).Begin("loading " + which[0] + " into docker's engine")
	err = e.send(ctx, s, which)
	shown.End(ctx, err)
	return err
}

// isOn tells whether the engine's images are in the store at a directory. It also shows that the engine answers.
func (e *Engine) isOn(ctx context.Context, root string) (bool, error) {
	var info struct{ DockerRootDir string }
	text, err := e.do(ctx, http.MethodGet, "/info", nil)
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(text, &info); err != nil {
		return false, fmt.Errorf("docker's engine: %w", err)
	}
	return info.DockerRootDir != "" && filepath.Clean(info.DockerRootDir) == filepath.Clean(root), nil
}

// send sends an archive of images while it is written.
func (e *Engine) send(ctx context.Context, s *session.Session, which []string) error {
	archive, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := guard.Call(func() error {
			return archives.Save(ctx, s, archives.SaveRequest{
				Images: which, Spec: export.Spec{Type: export.TypeDocker, Dest: export.Stdout}, Stdout: w,
			})
		})
		_ = w.CloseWithError(err) // it always succeeds
		written <- err
	}()
	text, err := e.do(ctx, http.MethodPost, "/images/load?quiet=1", archive)
	_ = archive.CloseWithError(err) // it always succeeds
	if saved := <-written; saved != nil && !errors.Is(saved, io.ErrClosedPipe) {
		return saved // the engine only says that the archive ended
	}
	if err != nil {
		return err
	}
	return refusal(text)
}

// refusal finds an error in the lines of an answer: the status was sent before it was known.
func refusal(text []byte) error {
	lines := json.NewDecoder(strings.NewReader(string(text)))
	for {
		var line struct{ Error string }
		err := lines.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("docker's engine: %w", err)
		case line.Error != "":
			return fmt.Errorf("docker's engine: %s", line.Error)
		}
	}
}

// do sends a request and reads the answer.
func (e *Engine) do(ctx context.Context, method, path string, body io.Reader) (text []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return nil, fmt.Errorf("docker's engine: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-tar")
	}
	answer, err := e.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("docker's engine: %w", err)
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	text, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("docker's engine: %w", err)
	}
	if answer.StatusCode/100 == 2 {
		return text, nil
	}
	var why struct{ Message string }
	if json.Unmarshal(text, &why) != nil || why.Message == "" {
		why.Message = answer.Status
	}
	return nil, fmt.Errorf("docker's engine: %s", why.Message)
}
