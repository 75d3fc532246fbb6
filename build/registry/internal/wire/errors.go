package wire

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/printable"
)

// StatusError is an answer of a registry with a status that isn't one of success.
type StatusError struct {
	Host string
	Code int
	// said is the registry's own message; empty: it sent none.
	said string
	hint string
	// After is how long the registry asks clients to wait before the next request, from Retry-After; at most maxWait.
	After time.Duration
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s answers %d %s", e.Host, e.Code, http.StatusText(e.Code))
	if e.said != "" {
		text += ": " + e.said
	}
	if e.hint != "" {
		text += "\nhint: " + e.hint
	}
	return text
}

// Is makes an answer 404 a content.ErrNotFound.
func (e *StatusError) Is(target error) bool {
	return target == content.ErrNotFound && e.Code == http.StatusNotFound
}

// LoginError is the reason why a login failed after the registry had asked for one. Another attempt doesn't help.
type LoginError struct{ Cause error }

func (e *LoginError) Error() string { return e.Cause.Error() }

func (e *LoginError) Unwrap() error { return e.Cause }

// MaxErrorBody bounds how much of the body of an error response is read, in bytes.
const MaxErrorBody = 16 << 10

// NewStatusError makes an error of a response, reads its body and closes it. The form of its text is that of the
// distribution specification: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
func NewStatusError(resp *http.Response, host string) error {
	defer resp.Body.Close()
	e := &StatusError{Host: host, Code: resp.StatusCode}
	if after, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		e.After = min(after, maxWait)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxErrorBody))
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
