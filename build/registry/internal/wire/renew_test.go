package wire_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
)

// TestAHeaderThatAnotherRequestObtainedIsNotFresh: whoever is refused with it, too, has to renew it once more.
func TestAHeaderThatAnotherRequestObtainedIsNotFresh(t *testing.T) {
	t.Parallel()
	given := 0
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		given++
		fmt.Fprintf(w, `{"token":"t%d","expires_in":300}`, given)
	}))
	defer tokens.Close()
	host := strings.TrimPrefix(tokens.URL, "http://")
	nobody := func(context.Context) (credentials.Credential, error) { return credentials.Credential{}, nil }
	a := &wire.Authorizer{Client: tokens.Client(), Pace: wire.UsualPace(), Host: host, Name: host, Path: "p",
		Actions: wire.Pulls, Find: nobody}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tokens.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused := &http.Response{Request: req, Header: http.Header{"Www-Authenticate": {
		fmt.Sprintf("Bearer realm=%q,scope=\"repository:p:pull\"", tokens.URL)}}}
	for _, try := range []struct {
		used, want string
		fresh      bool
	}{
		{"", "Bearer t1", true}, {"", "Bearer t1", false},
		{"Bearer t1", "Bearer t2", true}, {"Bearer t1", "Bearer t2", false},
	} {
		got, fresh, err := a.Renew(t.Context(), refused, try.used)
		if err != nil || got != try.want || fresh != try.fresh {
			t.Errorf("after %q: %q, fresh %t, %v", try.used, got, fresh, err)
		}
	}
}
