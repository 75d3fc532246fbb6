package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/printable"
)

// statusError is an answer of a registry with a status that isn't one of success.
type statusError struct {
	host string
	code int
	// said is the registry's own message; empty: it sent none.
	said string
	hint string
	// after is how long the registry asks clients to wait before the next request, from Retry-After; at most maxWait.
	after time.Duration
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("%s answers %d %s", e.host, e.code, http.StatusText(e.code))
	if e.said != "" {
		text += ": " + e.said
	}
	if e.hint != "" {
		text += "\nhint: " + e.hint
	}
	return text
}

func (e *statusError) Is(target error) bool {
	return target == content.ErrNotFound && e.code == http.StatusNotFound
}

// loginError is the reason why a login failed after the registry had asked for one. Another attempt doesn't help.
type loginError struct{ error }

func (e *loginError) Unwrap() error { return e.error }

// MayPass tells whether an error may be gone a while later: an error of the network, or of a registry that is
// overloaded or under maintenance.
func MayPass(err error) bool {
	if refused := new(statusError); errors.As(err, &refused) {
		return refused.code >= http.StatusInternalServerError || refused.code == http.StatusTooManyRequests ||
			refused.code == http.StatusRequestTimeout
	}
	var network net.Error
	return errors.As(err, &network) || broke(err)
}

// maxErrorBody bounds how much of the body of an error response is read, in bytes.
const maxErrorBody = 16 << 10

// newStatusError makes an error of a response, reads its body and closes it. The form of its text is that of the
// distribution specification: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
func newStatusError(resp *http.Response, host string) error {
	defer resp.Body.Close()
	e := &statusError{host: host, code: resp.StatusCode}
	if after, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		e.after = min(after, maxWait)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err == nil && json.Unmarshal(text, &body) == nil && len(body.Errors) > 0 {
		e.said = printable.Clip(strings.TrimSpace(body.Errors[0].Code + " " + body.Errors[0].Message))
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.hint = loginHint(host)
	case http.StatusTooManyRequests:
		e.hint = "wait, or log in: many registries let known users fetch more"
	}
	return e
}

func loginHint(host string) string {
	return fmt.Sprintf("cooper login %s, or podman login, keeps credentials; --authfile names another file of them", host)
}
