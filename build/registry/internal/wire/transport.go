package wire

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/internal/patience"
)

const (
	// attempts is how often a request is sent before its failure counts.
	attempts = 5
	// maxWait is the longest pause that a registry may ask for; a longer one is an error.
	maxWait = time.Minute

	dialTimeout   = 15 * time.Second
	headerTimeout = 30 * time.Second
)

// Pace says how long a client waits for a registry, and how long between two attempts.
type Pace struct {
	// First is the pause after the first failure; it doubles with each further failure, and a
	// random part of up to a quarter is added.
	First time.Duration
	// Limits say which transfers are too slow; the function Now is the clock for that.
	Limits patience.Limits
	Now    func() time.Time
	// Commit is how long a registry may take to answer after the last byte of a blob, during which it
	// may copy the blob.
	Commit time.Duration
}

// UsualPace is the pace but for tests.
func UsualPace() Pace {
	return Pace{First: 250 * time.Millisecond, Limits: patience.Usual(), Now: time.Now, Commit: 10 * time.Minute}
}

// NewTransport makes a transport to one host, with the certificates in dir and through the proxy that the environment
// names.
func NewTransport(dir string, insecure bool) (*http.Transport, error) {
	config, err := conf.TLS(dir, insecure)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: headerTimeout, IdleConnTimeout: 30 * time.Second,
		MaxIdleConnsPerHost: maxParallel,
		// Blobs must arrive as they are stored: a transparent decompression would change their digests.
		DisableCompression: true,
	}, nil
}

// maxParallel is how many idle connections to one host are kept.
const maxParallel = 8

// Secure is a transport that refuses plain HTTP, to which a registry might lead by a redirect or by the address of a
// token server.
func Secure(next http.RoundTripper) http.RoundTripper { return secureOnly{next} }

type secureOnly struct{ next http.RoundTripper }

func (s secureOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		return nil, fmt.Errorf("the registry leads to %s://%s, which is not secure", req.URL.Scheme, req.URL.Host)
	}
	resp, err := s.next.RoundTrip(req)
	return resp, trusted(err, req.URL.Host)
}

// trusted adds a hint to the error about a server whose certificate or protocol isn't trusted: how to permit it.
func trusted(err error, host string) error {
	switch plain, unknown := new(tls.RecordHeaderError), new(tls.CertificateVerificationError); {
	case errors.As(err, plain) && string(plain.RecordHeader[:]) == "HTTP/": // what [http.Client] looks for as well
		return fmt.Errorf("%w\nhint: --tls-verify=false, or insecure = true for it in registries.conf, lets %s do without TLS",
			http.ErrSchemeMismatch, host)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w\nhint: certificates of authorities are looked for in certs.d/%s of /etc/containers and of ~/.config/containers, and in --cert-dir; "+
			"--tls-verify=false trusts any", err, host)
	}
	return err
}

// Patient is a transport that sends requests again that have failed for a reason that may pass, and gives up on answers
// that come too slowly.
func (p Pace) Patient(next http.RoundTripper) http.RoundTripper {
	return retrier{p.Watch(next), p.First}
}

// retrier sends a request again if it has failed for a reason that may pass.
type retrier struct {
	next  http.RoundTripper
	first time.Duration
}

func (r retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		if attempt > 0 && req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req = req.Clone(req.Context())
			req.Body = body
		}
		resp, err := r.next.RoundTrip(req)
		wait := r.pause(attempt, resp, err)
		if wait < 0 || req.Context().Err() != nil {
			return resp, err
		}
		if resp != nil {
			_ = resp.Body.Close() // the response is an error that a retry replaces
		}
		timer := time.NewTimer(wait)
		select {
		case <-req.Context().Done():
			timer.Stop()
			return nil, req.Context().Err()
		case <-timer.C:
		}
	}
}

// pause is the time to wait before the next attempt; negative: there must be no other attempt.
func (r retrier) pause(attempt int, resp *http.Response, err error) time.Duration {
	if attempt+1 >= attempts || !passing(attempt, resp, err) {
		return -1
	}
	wait := r.first << attempt
	wait += rand.N(wait/4 + 1) //nolint:gosec // it spreads retries of many clients, which needs no secret
	if resp != nil {
		if asked, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
			if asked > maxWait {
				return -1
			}
			wait = max(wait, asked)
		}
	}
	return wait
}

// passing tells whether the same request may succeed a moment later.
func passing(attempt int, resp *http.Response, err error) bool {
	if err != nil {
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return attempt == 0 // a timeout has cost much time already, so one retry must do
		}
		return Broke(err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Broke tells whether a connection broke.
func Broke(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF)
}

// retryAfter reads a Retry-After header, which is seconds or a date. RFC 9110, section 10.2.3.
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}
