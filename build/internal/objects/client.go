package objects

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/printable"
)

const (
	// tries is how often a request is sent in all, firstPause the time before the second.
	tries      = 3
	firstPause = 200 * time.Millisecond
	// maxRedirects is how many redirects one request may take.
	maxRedirects = 5
	// maxRefusal is how many bytes of an error's text are read, maxAnswer how many of a short answer.
	maxRefusal, maxAnswer = 4 << 10, 64 << 10
	// stall is how long a request may bring or take nothing.
	stall = 30 * time.Second
)

// client sends requests.
type client struct {
	http *http.Client
	// sign adds to a request what says who asks; nil: nothing does.
	sign func(req *http.Request, sum string) error
	// first is the pause before the second try.
	first time.Duration
}

func newClient(sign func(req *http.Request, sum string) error) *client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: stall,
		TLSHandshakeTimeout: stall, ForceAttemptHTTP2: true,
		// What is stored is fetched as it is.
		DisableCompression: true}
	return &client{sign: sign, first: firstPause, http: &http.Client{Transport: transport, CheckRedirect: checkRedirect}}
}

// checkRedirect bounds redirects, and follows none from HTTPS to HTTP, nor of a request that brings something: its
// signature is for one address only.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("it redirects from HTTPS to HTTP")
	case via[0].Method != http.MethodGet && via[0].Method != http.MethodHead:
		return http.ErrUseLastResponse
	}
	return nil
}

// call is one request.
type call struct {
	method, url string
	header      map[string]string
	// body is sent: size bytes of it, whose SHA-256 in hexadecimal digits is sum.
	body io.ReaderAt
	size int64
	sum  string
}

// send sends a request until it is answered with a status that doesn't pass. The caller closes the answer's body. A
// status other than 2xx is a [*StatusError].
func (c *client) send(ctx context.Context, call call) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := c.sendOnce(ctx, call)
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		status := new(StatusError)
		if try == tries || errors.As(err, &status) && !status.passes() || errors.Is(err, errNever) ||
			errors.Is(err, errStalled) {
			return nil, err
		}
		pause := c.first<<(try-1) + rand.N(c.first+1) //nolint:gosec // the pause needs no secrecy
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// errNever is behind errors that come again however often a request is sent.
var errNever = errors.New("the request can't be sent")

func (c *client) sendOnce(ctx context.Context, call call) (*http.Response, error) {
	watch := newWatch(ctx)
	req, err := c.request(watch, call)
	if err != nil {
		watch.stop()
		return nil, fmt.Errorf("%w: %w", errNever, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		err = watch.explain(err)
		watch.stop()
		// Its text has the address, which may be signed.
		if outer := new(url.Error); errors.As(err, &outer) {
			err = outer.Err
		}
		return nil, fmt.Errorf("%s %s: %w", call.method, shown(req.URL), err)
	}
	resp.Body = &watchedBody{resp.Body, watch}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, refusal(resp, call.method)
	}
	return resp, nil
}

func (c *client) request(watch *watch, call call) (*http.Request, error) {
	var body io.Reader
	if call.body != nil && call.size > 0 {
		body = &watchedReader{io.NewSectionReader(call.body, 0, call.size), watch}
	}
	req, err := http.NewRequestWithContext(watch.ctx, call.method, call.url, body)
	if err != nil {
		return nil, errors.New("its address is none") // the error has the address in it
	}
	req.ContentLength = call.size
	for key, value := range call.header {
		req.Header.Set(key, value)
	}
	req.Header.Set("User-Agent", "cooper")
	if c.sign != nil {
		return req, c.sign(req, call.sum)
	}
	return req, nil
}

// ask sends a request and reads the answer, which has at most limit bytes. One that breaks off is asked for again.
func (c *client) ask(ctx context.Context, call call, limit int64) (text []byte, header http.Header, broken error) {
	for range tries {
		resp, err := c.send(ctx, call)
		if err != nil {
			return nil, nil, err
		}
		text, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
		_ = resp.Body.Close() // it has been read, or is given up
		if int64(len(text)) > limit {
			return nil, nil, fmt.Errorf("%s %s: the answer is longer than %d bytes", call.method, shown(resp.Request.URL), limit)
		}
		if err == nil {
			return text, resp.Header, nil
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		header, broken = resp.Header, fmt.Errorf("%s %s: %w", call.method, shown(resp.Request.URL), err)
	}
	return text, header, broken
}

// brought gives a call the body text.
func (c call) brought(text []byte) call {
	c.body, c.size, c.sum = bytes.NewReader(text), int64(len(text)), sumOf(text)
	return c
}

// shown is an address for people: without a user, a password and a query, which may be a signature.
func shown(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

// StatusError says that a store refuses a request.
type StatusError struct {
	// Status is HTTP's.
	Status int
	// What are the method and the address, Text is what the store says of it, for people.
	What, Text string
}

func refusal(resp *http.Response, method string) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // without a text the status says it
	_ = resp.Body.Close()                                        // the body is given up
	return &StatusError{Status: resp.StatusCode, What: method + " " + shown(resp.Request.URL),
		Text: printable.Clip(printable.OneLine(said(text)))}
}

// said is what a store says of an error: S3 and Azure say it in XML, with much around it.
func said(text []byte) string {
	var inXML struct{ Code, Message string }
	if err := xml.Unmarshal(text, &inXML); err == nil && inXML.Code != "" {
		return inXML.Code + ": " + inXML.Message
	}
	return string(text)
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s: %d %s", e.What, e.Status, http.StatusText(e.Status))
	if e.Text != "" {
		text += ": " + e.Text
	}
	return strings.TrimSpace(text)
}

// Is makes the error one of package content where nothing was found.
func (e *StatusError) Is(target error) bool {
	return target == content.ErrNotFound && e.Status == http.StatusNotFound
}

// passes tells whether another try may be answered.
func (e *StatusError) passes() bool {
	return e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests ||
		e.Status >= 500 && e.Status != http.StatusNotImplemented && e.Status != http.StatusInsufficientStorage
}

// isStatus tells whether an error is one of the statuses.
func isStatus(err error, statuses ...int) bool {
	status := new(StatusError)
	if !errors.As(err, &status) {
		return false
	}
	for _, s := range statuses {
		if status.Status == s {
			return true
		}
	}
	return false
}
