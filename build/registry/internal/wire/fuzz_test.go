package wire

import (
	"strings"
	"testing"
	"time"
)

// FuzzAnswers reads what a registry says in headers, and what a token server says.
func FuzzAnswers(f *testing.F) {
	f.Add(`Bearer realm="https://a/token",service="b,\"c",scope="repository:a:pull"`, `{"token":"a","expires_in":60}`)
	f.Add(`Basic realm=x`, `{"access_token":"a","issued_at":"2020-01-02T03:04:05Z"}`)
	f.Add("120", "<html>")
	f.Add("Wed, 21 Oct 2026 07:28:00 GMT", `{"expires_in":-1e300}`)
	f.Fuzz(func(t *testing.T, header, body string) {
		scheme, params := challenge([]string{header, header})
		if scheme != strings.ToLower(scheme) {
			t.Errorf("the scheme %q", scheme)
		}
		for key := range params {
			if key != strings.ToLower(key) {
				t.Errorf("the parameter %q", key)
			}
		}
		if wait, ok := retryAfter(header, time.Unix(1e9, 0)); ok && wait < 0 {
			t.Errorf("%q: wait %s", header, wait)
		}
		if token, life, err := readToken([]byte(body)); err == nil && (strings.ContainsAny(token, "\r\n") || life < 0) {
			t.Errorf("the token %q for %s", token, life)
		}
	})
}
