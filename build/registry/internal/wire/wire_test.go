package wire_test

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

func TestNothingOfThisMachineIsAskedForARegistry(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "::1": true, "169.254.169.254": true, "fe80::1": true, "0.0.0.0": true, "::ffff:127.0.0.1": true,
		"224.0.0.1":     true,
		"93.184.216.34": false, "10.1.2.3": false, "2001:db8::1": false,
	} {
		err := wire.RefuseOwn(netip.AddrPortFrom(netip.MustParseAddr(addr), 443).String())
		if (err != nil) != want {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestChallengesAreRead(t *testing.T) {
	for text, want := range map[string]struct {
		scheme string
		params map[string]string
	}{
		`Basic realm="x"`: {"basic", map[string]string{}},
		`Bearer realm="https://a.test/token",service="a, b",scope=repository:x:pull`: {"bearer", map[string]string{
			"realm": "https://a.test/token", "service": "a, b", "scope": "repository:x:pull"}},
		`BEARER Realm="a\"b"`: {"bearer", map[string]string{"realm": `a"b`}},
		`Bearer`:              {"bearer", map[string]string{}},
		`Negotiate abc`:       {"", nil},
		``:                    {"", nil},
	} {
		scheme, params := wire.Challenge([]string{text})
		if diff := cmp.Diff(want.params, params); scheme != want.scheme || diff != "" {
			t.Errorf("%s: %s, %s", text, scheme, diff)
		}
	}
	if scheme, _ := wire.Challenge([]string{`Basic realm="x"`, `Bearer realm="y"`}); scheme != "bearer" {
		t.Errorf("of basic and bearer %s is taken", scheme)
	}
}

// TestAStatusIsAnErrorThatSaysWhatToDo has answers of registries and what is made of them.
func TestAStatusIsAnErrorThatSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		code   int
		header http.Header
		body   string
		want   []string
		found  bool
		after  time.Duration
	}{
		"who asks":  {code: 401, body: "x", want: []string{"a.test answers 401 Unauthorized", "hint: cooper login a.test"}},
		"not there": {code: 404, found: true, want: []string{"404 Not Found"}},
		"its words": {code: 400, body: `{"errors":[{"code":"X","message":"a\u001b[31mb"}]}`, want: []string{": X a [31mb"}},
		"too many":  {code: 429, header: http.Header{"Retry-After": {"7"}}, want: []string{"log in"}, after: 7 * time.Second},
		"for long":  {code: 503, header: http.Header{"Retry-After": {"999999"}}, after: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			err := wire.NewStatusError(&http.Response{StatusCode: c.code, Header: c.header,
				Body: io.NopCloser(strings.NewReader(c.body))}, "a.test")
			for _, text := range c.want {
				registrytest.Wants(t, err, text)
			}
			status := new(wire.StatusError)
			if !errors.As(err, &status) || status.After != c.after || errors.Is(err, content.ErrNotFound) != c.found {
				t.Errorf("the error is %#v", err)
			}
		})
	}
}
