package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/internal/printable"
)

// What a repository's list of tags may have at most.
const (
	maxTags  = 100_000
	maxPages = 1000
)

// Tags are the tags that an image's repository has, sorted, in the first of its mirrors that answers or in its own
// registry.
func (c *Client) Tags(ctx context.Context, ref reference.Reference) ([]string, error) {
	if err := c.policy.Check(ref); err != nil {
		return nil, err
	}
	tags, err := first(ctx, c, ref, func(repo *repository, _ reference.Reference) ([]string, error) {
		return repo.tags(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", ref.Repository(), err)
	}
	return tags, nil
}

func (r *repository) tags(ctx context.Context) (all []string, err error) {
	query := url.Values{}
	for range maxPages {
		a, err := r.pace.Ask(ctx, content.MaxManifest, func() (*http.Response, error) {
			resp, err := r.do(ctx, r.auth, call{method: http.MethodGet, path: "tags/list", query: query})
			if err == nil && resp.StatusCode != http.StatusOK {
				err = wire.NewStatusError(resp, r.at.Ref.Domain)
			}
			return resp, err
		})
		if err != nil {
			return nil, err
		}
		var page struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(a.Text, &page); err != nil {
			return nil, fmt.Errorf("the registry's list is no JSON: %w", err)
		}
		for _, tag := range page.Tags {
			if _, err := reference.Parse(r.at.Ref.Name() + ":" + tag); err != nil {
				return nil, fmt.Errorf("the registry's list has %q: %w", printable.Clip(tag), err)
			}
		}
		if all = append(all, page.Tags...); len(all) > maxTags {
			return nil, fmt.Errorf("the repository has more than %d tags", maxTags)
		}
		if query = nextPage(a.Header.Get("Link")); query == nil {
			slices.Sort(all)
			return slices.Compact(all), nil
		}
	}
	return nil, fmt.Errorf("the registry's list has more than %d pages", maxPages)
}

// nextPage is the query for the next part of a list; nil: there is none. Only the query of the link is taken, so that
// it leads to no other place.
func nextPage(link string) url.Values {
	at, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	u, err := url.Parse(at)
	if err != nil || !strings.Contains(rest, `rel="next"`) || u.Query().Get("last") == "" {
		return nil
	}
	return url.Values{"last": u.Query()["last"], "n": u.Query()["n"]}
}
