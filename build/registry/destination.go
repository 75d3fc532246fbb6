package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/internal/patience"
	"github.com/cooperbuild/cooper/internal/printable"
)

// Destination is a repository that images are pushed to. It is safe for concurrent use.
type Destination struct {
	repo *repository
	// uploads is the HTTP client for blob uploads: it sends no request twice by itself, and waits longer for an answer.
	uploads *http.Client
	pace    wire.Pace

	mu sync.Mutex
	// mounting are the authorizers that may also read another repository, by the name of that repository.
	mounting map[string]*wire.Authorizer
}

// Destination is where images of a name are pushed to: their own registry, whatever mirrors registries.conf has.
func (c *Client) Destination(ref reference.Reference) (*Destination, error) {
	e, err := conf.Own(ref)
	if err != nil {
		return nil, err
	}
	repo, err := c.repository(e, wire.Pushes)
	if err != nil {
		return nil, err
	}
	return &Destination{repo: repo, uploads: repo.uploader(), pace: repo.pace, mounting: map[string]*wire.Authorizer{}},
		nil
}

// uploader makes a client that sends each request once. The [sending] of its
// body ends a request that stands still.
func (r *repository) uploader() *http.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.upload == nil {
		r.upload = r.transport.Clone()
		r.upload.ResponseHeaderTimeout = 0
	}
	var next http.RoundTripper = r.upload
	if !r.at.Insecure {
		next = wire.Secure(next)
	}
	return &http.Client{Transport: r.pace.Watch(next), CheckRedirect: wire.SafeRedirect}
}

// Manifest is the digest of the manifest that a tag or digest leads to. The error is content.ErrNotFound if the
// repository has no such tag or digest.
func (d *Destination) Manifest(ctx context.Context, name string) (digest.Digest, error) {
	resp, err := d.repo.do(ctx, d.repo.auth, call{method: http.MethodHead, path: "manifests/" + name,
		header: http.Header{"Accept": {strings.Join(content.ManifestTypes(), ", ")}}})
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", wire.NewStatusError(resp, d.repo.at.Ref.Domain)
	}
	_ = resp.Body.Close() // there is nothing in it
	if got := digest.Digest(resp.Header.Get("Docker-Content-Digest")); got.Validate() == nil {
		return got, nil
	}
	text, _, err := d.repo.manifest(ctx, name) // a registry need not send the digest
	return digest.FromBytes(text), err
}

// Has tells whether the repository has a blob.
func (d *Destination) Has(ctx context.Context, b ocispec.Descriptor) (bool, error) {
	if err := b.Digest.Validate(); err != nil {
		return false, fmt.Errorf("digest %q: %w", printable.Clip(b.Digest.String()), err)
	}
	resp, err := d.repo.do(ctx, d.repo.auth, call{method: http.MethodHead, path: "blobs/" + b.Digest.String()})
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		if err = wire.NewStatusError(resp, d.repo.at.Ref.Domain); errors.Is(err, content.ErrNotFound) {
			return false, nil
		}
		return false, err
	}
	_ = resp.Body.Close() // there is nothing in it
	if size, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64); err == nil && size != b.Size {
		return false, fmt.Errorf("%s says that it has %s, with %d bytes and not %d", d.repo.at.Ref.Domain, b.Digest, size,
			b.Size)
	}
	return true, nil
}

// Begin begins to bring a blob into the repository, where possible by a mount from one of the registry's other
// repositories, which from names. In that case there is nothing to send, and the upload is nil.
func (d *Destination) Begin(ctx context.Context, b ocispec.Descriptor, from []string) (*Upload, error) {
	if err := b.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", printable.Clip(b.Digest.String()), err)
	}
	u := &Upload{to: d, want: b, piece: max(1, b.Size), meter: patience.NewMeter(d.pace.Limits)}
	for _, name := range from {
		if name == d.repo.at.Ref.Path {
			continue
		}
		u.Cancel(ctx)
		mounted, err := u.mount(ctx, name)
		if mounted {
			return nil, err
		}
		if ctx.Err() != nil {
			u.Cancel(ctx)
			return nil, context.Cause(ctx)
		}
	}
	return u, nil
}

// mountedBy gives the authorizer that may read another repository.
func (d *Destination) mountedBy(from string) *wire.Authorizer {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.mounting[from]
	if a == nil {
		a = d.repo.auth.For(from)
		d.mounting[from] = a
	}
	return a
}

// PutManifest stores a manifest under a name, which is a tag or its digest. The repository must have all blobs and
// manifests that it names.
func (d *Destination) PutManifest(ctx context.Context, name string, m ocispec.Descriptor, text []byte) error {
	resp, err := d.repo.do(ctx, d.repo.auth, call{method: http.MethodPut, path: "manifests/" + name, body: text,
		header: http.Header{"Content-Type": {m.MediaType}}})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		return wire.NewStatusError(resp, d.repo.at.Ref.Domain)
	}
	_ = resp.Body.Close() // the header says all that is needed
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != m.Digest.String() {
		return fmt.Errorf("%s has taken the manifest %s as %q", d.repo.at.Ref.Domain, m.Digest, printable.Clip(got))
	}
	return nil
}

// location reads where an upload goes on. That may be on another host, which gets no
// credentials. A registry behind a proxy that ends TLS may answer with http, since it doesn't know of the HTTPS.
func (r *repository) location(resp *http.Response) (string, error) {
	text := resp.Header.Get("Location")
	at, err := resp.Request.URL.Parse(text)
	if text == "" || err != nil || at.Host == "" || at.Scheme != "https" && at.Scheme != "http" {
		return "", fmt.Errorf("%s gives an upload the address %q", r.at.Ref.Domain, printable.Clip(text))
	}
	if asked := resp.Request.URL; asked.Scheme == "https" && at.Scheme == "http" && at.Hostname() == asked.Hostname() &&
		(at.Port() == asked.Port() || at.Port() == "80" && asked.Port() == "") {
		at.Scheme, at.Host = asked.Scheme, asked.Host
	}
	return at.String(), nil
}

// withDigest is the address of the request that ends an upload: its location with the digest of the blob.
func withDigest(location string, d digest.Digest) (string, error) {
	at, err := url.Parse(location)
	if err != nil {
		return "", err
	}
	if at.RawQuery != "" {
		at.RawQuery += "&" // the query is not parsed and rebuilt, as its text may be signed
	}
	at.RawQuery += "digest=" + url.QueryEscape(d.String())
	return at.String(), nil
}

// FetchBlob opens a blob of an image's repository, in the first of its mirrors that has it or in its own registry. The
// caller reads it through [content.Verify] and closes it.
func (c *Client) FetchBlob(ctx context.Context, ref reference.Reference, b ocispec.Descriptor) (io.ReadCloser, error) {
	return first(ctx, c, ref, func(repo *repository, _ reference.Reference) (io.ReadCloser, error) {
		return repo.blob(ctx, b)
	})
}
