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
	"unicode"
)

// ErrNotFound is behind errors that say that a registry or layout has no such image or blob.
var ErrNotFound = errors.New("not found")

// statusError is an answer of a registry that isn't what was asked for.
type statusError struct {
	host string
	code int
	// said is the registry's own message; may be empty.
	said string
	hint string
	// after is how long it wants to be left alone; at most maxWait.
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
	return target == ErrNotFound && e.code == http.StatusNotFound
}

// loginError is why somebody wasn't let in who was asked to say who he is. To ask once more doesn't help.
type loginError struct{ error }

func (e *loginError) Unwrap() error { return e.error }

// MayPass tells whether an error is one that may be gone a while later: of the network, or of a registry that has too
// much to do or is being mended.
func MayPass(err error) bool {
	if refused := new(statusError); errors.As(err, &refused) {
		return refused.code >= http.StatusInternalServerError || refused.code == http.StatusTooManyRequests ||
			refused.code == http.StatusRequestTimeout
	}
	var network net.Error
	return errors.As(err, &network) || broke(err)
}

// maxErrorBody bounds what is read of an error's text, in bytes.
const maxErrorBody = 16 << 10

// newStatusError reads the error that a response is and closes it. The form of its text is that of the distribution
// specification: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
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
		e.said = clip(strings.TrimSpace(body.Errors[0].Code + " " + body.Errors[0].Message))
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

// clip makes a stranger's text fit for a message: one line, not long, nothing that a terminal obeys.
func clip(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "..."
	}
	return s
}
