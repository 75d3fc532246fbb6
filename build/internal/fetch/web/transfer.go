package web

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
	"github.com/cooperbuild/cooper/internal/patience"
	"github.com/cooperbuild/cooper/internal/printable"
)

const (
	maxRedirects = 10
	fileMode     = 0o600
	chunkSize    = 256 << 10
)

// hashOf is nil for an algorithm that remote.CheckDigest refuses.
func hashOf(algorithm string) func() hash.Hash {
	switch algorithm {
	case "sha256":
		return sha256.New
	case "sha384":
		return sha512.New384
	case "sha512":
		return sha512.New
	}
	return nil
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// errStalled is why a transfer that stands still is cancelled.
var errStalled = errors.New("the server sends nothing any more")

// errUnchanged says that the server still has the file that the shelf has.
var errUnchanged = errors.New("not modified")

// transfer asks the server for the file. The error is errUnchanged if the server still has the file kept, whose origin
// is noted in last.
func (d *download) transfer(ctx context.Context, last meta, kept *File) (m meta, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(d.room.Limits.Stall, func() { cancel(errStalled) })
	defer timer.Stop()
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	client, done := d.client()
	defer done()
	resp, err := client.Do(d.request(ctx, last, kept))
	if err != nil {
		return meta{}, explain(err)
	}
	defer resp.Body.Close()
	etag := resp.Header.Get("ETag")
	switch {
	case resp.StatusCode == http.StatusNotModified && kept != nil:
		return meta{}, errUnchanged
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNonAuthoritativeInfo:
		return meta{}, statusError(resp)
	case kept != nil && etag != "" && etag == last.ETag && !strings.HasPrefix(etag, "W/"):
		return meta{}, errUnchanged // the server ignores If-None-Match, but its ETag is the same
	}
	return d.save(ctx, resp, timer)
}

func (d *download) request(ctx context.Context, last meta, kept *File) *http.Request {
	req := (&http.Request{Method: http.MethodGet, URL: d.url, Host: d.url.Host, Header: http.Header{}}).WithContext(ctx)
	req.Header.Set("User-Agent", "cooper")
	// The server must send the file as it is, not compressed for the transfer.
	req.Header.Set("Accept-Encoding", "identity")
	if d.auth != "" {
		req.Header.Set("Authorization", d.auth)
	}
	if kept != nil && last.ETag != "" {
		req.Header.Set("If-None-Match", last.ETag)
	}
	if kept != nil && last.LastModified != "" {
		req.Header.Set("If-Modified-Since", last.LastModified)
	}
	return req
}

// client makes a client for one file; done closes its connections.
func (d *download) client() (client *http.Client, done func()) {
	t := &http.Transport{
		Proxy:              http.ProxyFromEnvironment,
		DialContext:        (&net.Dialer{Timeout: d.room.Limits.Stall}).DialContext,
		ForceAttemptHTTP2:  true,
		DisableCompression: true,
	}
	client = &http.Client{Transport: t, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		first := via[0].URL
		if req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
			req.Header.Del("Authorization")
		}
		// Credentials in the address of a redirect come from the server, not from the user.
		req.URL.User = nil
		req.Header.Del("Referer")
		return nil
	}}
	return client, t.CloseIdleConnections
}

func statusError(resp *http.Response) error {
	err := fmt.Errorf("the server answers %s", printable.OneLine(resp.Status))
	if resp.Request.Response != nil { // it was redirected
		err = fmt.Errorf("%w for %s", err, remote.Redact(resp.Request.URL.String()))
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		host := resp.Request.URL.Hostname()
		return fmt.Errorf("%w\nhint: give credentials with --secret id=HTTP_AUTH_TOKEN_%s or HTTP_AUTH_HEADER_%s", err, host,
			host)
	}
	return err
}

// save writes the body of the response onto the shelf and checks its checksum before the file gets its name.
func (d *download) save(ctx context.Context, resp *http.Response, timer *time.Timer) (m meta, err error) {
	m = meta{
		Name: d.name(resp), URL: shelf.WithoutQuery(d.shown), ETag: resp.Header.Get("ETag"),
		LastModified: resp.Header.Get("Last-Modified"),
		ModTime:      time.Unix(0, 0).UTC(),
	}
	if t, err := http.ParseTime(m.LastModified); err == nil {
		m.ModTime = t.UTC()
	}
	dir, remove, err := d.kept.Temp()
	if err != nil {
		return meta{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	whole := filepath.Join(dir, "entry")
	if err := os.Mkdir(whole, 0o700); err != nil {
		return meta{}, err
	}
	sums, err := d.write(filepath.Join(whole, m.Name), &m, resp, timer)
	if err != nil {
		return meta{}, err
	}
	m.Entry = shelf.Key(m.Digest.String(), m.Name, m.ModTime.String())
	if err := d.kept.Publish(ctx, whole, d.kept.Entry(shelf.Files, m.Entry)); err != nil {
		return meta{}, err
	}
	for _, sum := range sums {
		if err := d.kept.WriteJSON(d.room.sumPath(sum), m); err != nil {
			return meta{}, err
		}
	}
	return m, nil
}

// write writes the file and fills in its size and digest. It returns all digests of the file that were
// computed.
func (d *download) write(path string, m *meta, resp *http.Response, timer *time.Timer) (sums []digest.Digest,
	err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hashes := map[digest.Algorithm]hash.Hash{digest.SHA256: sha256.New()}
	if a := d.r.Checksum; a != "" && a.Algorithm() != digest.SHA256 {
		hashes[a.Algorithm()] = hashOf(a.Algorithm().String())()
	}
	targets := []io.Writer{f}
	for _, h := range hashes {
		targets = append(targets, h)
	}
	body := &watched{
		body: resp.Body, timer: timer, room: d.room, meter: patience.NewMeter(d.room.Limits), total: resp.ContentLength,
		progress: d.r.Progress,
	}
	if m.Size, err = io.CopyBuffer(io.MultiWriter(targets...), body, make([]byte, chunkSize)); err != nil {
		return nil, explain(err)
	}
	for algorithm, h := range hashes {
		sums = append(sums, digest.NewDigest(algorithm, h))
	}
	m.Digest = digest.NewDigest(digest.SHA256, hashes[digest.SHA256])
	if want := d.r.Checksum; want != "" {
		if got := digest.NewDigest(want.Algorithm(), hashes[want.Algorithm()]); got != want {
			return nil, fmt.Errorf("%w: expected %s, got %s", shelf.ErrChecksum, want, got)
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return sums, os.Chtimes(path, m.ModTime, m.ModTime)
}

// watched is the body of a response; each of its reads restarts the timer that ends a stalled transfer.
type watched struct {
	body        io.Reader
	timer       *time.Timer
	room        *Room
	meter       *patience.Meter
	done, total int64
	progress    ProgressFunc
}

func (w *watched) Read(p []byte) (int, error) {
	start := w.room.Now()
	n, err := w.body.Read(p)
	if slow := w.meter.Note(n, w.room.Now().Sub(start)); slow != nil && err == nil {
		err = fmt.Errorf("%w\nhint: try again when the network or the server is faster", slow)
	}
	if n > 0 {
		w.timer.Reset(w.room.Limits.Stall)
		w.done += int64(n)
		if w.progress != nil {
			w.progress(w.done, w.total)
		}
	}
	return n, err
}
