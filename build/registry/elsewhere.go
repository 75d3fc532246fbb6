package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/internal/printable"
)

// maxURLs bounds how many URLs of a layer are tried.
const maxURLs = 8

// elsewhere opens a blob at the first of its URLs that has it; missing is the registry's error for the blob. The
// URLs were written by whoever made the image, who is hostile: requests carry no credentials and go to no address of
// this machine. The caller reads the blob through [content.Verify], like all others.
func (r *repository) elsewhere(ctx context.Context, d ocispec.Descriptor, missing error) (io.ReadCloser, error) {
	transport, err := r.pace.Outward(r.host, r.at.Insecure)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: transport, CheckRedirect: wire.SafeRedirect}
	errs := []error{fmt.Errorf("the registry has no layer %s, which may not be distributed: %w", d.Digest, missing)}
	for _, text := range d.URLs[:min(len(d.URLs), maxURLs)] {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			errs = append(errs, fmt.Errorf("%q is no URL that a layer can be at", printable.Clip(text)))
			continue
		}
		u.User = nil
		b := r.newBlob(ctx, d, printable.Clip(u.Host), func(ctx context.Context, header http.Header) (*http.Response, error) {
			return ask(ctx, client, call{method: http.MethodGet, at: u.String(), header: header})
		})
		if err = b.open(); err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, fmt.Errorf("its URL %q: %w", printable.Clip(u.Redacted()), err))
	}
	return nil, errors.Join(errs...)
}

// ask sends a request without credentials.
func ask(ctx context.Context, client *http.Client, c call) (*http.Response, error) {
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, c.at, body)
	if err != nil {
		return nil, err
	}
	if c.header != nil {
		req.Header = c.header.Clone()
	}
	req.Header.Set("User-Agent", "cooper")
	resp, err := client.Do(req)
	if err != nil {
		return nil, cause(ctx, err)
	}
	return resp, nil
}
