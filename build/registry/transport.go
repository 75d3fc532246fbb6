package registry

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

	"github.com/cooperbuild/cooper/build/internal/patience"
)

const (
	// attempts is how often a request is sent before its failure counts.
	attempts = 5
	// maxWait is the longest pause that a registry may ask for; if it wants more, that is an error.
	maxWait = time.Minute

	dialTimeout   = 15 * time.Second
	headerTimeout = 30 * time.Second
)

// pace is how patient a client is.
type pace struct {
	// first is the pause after the first failure; it doubles from one to the next, with a little chance in it.
	first time.Duration
	// limits say what is too slow, by the clock now.
	limits patience.Limits
	now    func() time.Time
	// commit is how long a registry may take to answer when it has all of a blob: it may copy it then.
	commit time.Duration
}

func usualPace() pace {
	return pace{first: 250 * time.Millisecond, limits: patience.Usual(), now: time.Now, commit: 10 * time.Minute}
}

// newTransport connects to one host, as tls says, through the proxy that the environment names.
func newTransport(dir string, insecure bool) (*http.Transport, error) {
	config, err := tlsConfig(dir, insecure)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: headerTimeout, IdleConnTimeout: 30 * time.Second,
		MaxIdleConnsPerHost: maxParallel,
		// Blobs must come as they are.
		DisableCompression: true,
	}, nil
}

// maxParallel is how many connections to one host are kept.
const maxParallel = 8

// secureOnly refuses plain HTTP, to which a registry might send us by a redirect or for a token.
type secureOnly struct{ next http.RoundTripper }

func (s secureOnly) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		return nil, fmt.Errorf("the registry leads to %s://%s, which is not secure", req.URL.Scheme, req.URL.Host)
	}
	resp, err := s.next.RoundTrip(req)
	return resp, trusted(err, req.URL.Host)
}

// trusted adds to the error of a server that can't be trusted by what other means it can.
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

// retrier sends requests again that failed for a reason that passes.
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
			_ = resp.Body.Close() // the answer was no answer
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

// pause is the time to wait before the next attempt; a negative one ends them.
func (r retrier) pause(attempt int, resp *http.Response, err error) time.Duration {
	if attempt+1 >= attempts || !passing(attempt, resp, err) {
		return -1
	}
	wait := r.first << attempt
	wait += rand.N(wait/4 + 1) //nolint:gosec // that not all come back at once takes no secret
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
			return attempt == 0 // it has taken long enough
		}
		return broke(err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// broke tells whether a connection broke.
func broke(err error) bool {
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
