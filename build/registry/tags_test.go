package registry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

// TestTagsComePageByPageFromTheRegistryAlone has the pages name another host, which must not be asked.
func TestTagsComePageByPageFromTheRegistryAlone(t *testing.T) {
	registrytest.Home(t, "")
	const next = `</v2/lib/app/tags/list?last=%s&n=2>; rel="next"`
	for name, test := range map[string]struct {
		pages map[string][2]string // the link and the text, by the last tag of the page before
		want  []string
		says  string
	}{
		"one page":     {map[string][2]string{"": {"", `{"name":"lib/app","tags":["2","1"]}`}}, []string{"1", "2"}, ""},
		"no tags":      {map[string][2]string{"": {"", `{"tags":null}`}}, nil, ""},
		"several":      {map[string][2]string{"": {fmt.Sprintf(next, "b"), `{"tags":["b","a"]}`}, "b": {"", `{"tags":["c","a"]}`}}, []string{"a", "b", "c"}, ""},
		"another host": {map[string][2]string{"": {`<http://127.0.0.1:1/x?last=b>; rel="next"`, `{"tags":["b"]}`}, "b": {"", `{"tags":["c"]}`}}, []string{"b", "c"}, ""},
		"without end":  {map[string][2]string{"": {fmt.Sprintf(next, "b"), `{"tags":[]}`}, "b": {fmt.Sprintf(next, "b"), `{"tags":[]}`}}, nil, "more than 1000 pages"},
		"no JSON":      {map[string][2]string{"": {"", `<html>`}}, nil, "is no JSON"},
		"a path":       {map[string][2]string{"": {"", `{"tags":["../../etc"]}`}}, nil, `the registry's list has "../../etc"`},
		"too many":     {map[string][2]string{"": {"", `{"tags":["a"` + strings.Repeat(`,"a"`, 100_000) + `]}`}}, nil, "more than 100000 tags"},
		"too long":     {map[string][2]string{"": {"", strings.Repeat(" ", 5<<20)}}, nil, "tags of "},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/lib/app/tags/list" {
				return
			}
			page := test.pages[r.URL.Query().Get("last")]
			w.Header().Set("Link", page[0])
			_, _ = w.Write([]byte(page[1]))
		}))
		defer server.Close()
		c, err := registry.NewClient(registry.Options{Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := c.Tags(t.Context(), registrytest.Ref(t, strings.TrimPrefix(server.URL, "http://")+"/lib/app:1"))
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
