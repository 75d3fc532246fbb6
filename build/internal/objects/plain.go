package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// plain is a store of blobs at cas/SHA256 and of results of actions at ac/SHA256, as Bazel has it. The head is the one
// file of the result of an action that has the store's name: servers that check results then know that they need the
// blob, and give no result whose blob they have dropped.
type plain struct {
	*client
	base, head string
}

var _ Store = (*plain)(nil)

func newPlain(spec sharedcache.Spec) (*plain, error) {
	u, err := url.Parse(spec.URL)
	if err != nil {
		return nil, errors.New("its address is none") // the error has the address in it
	}
	user, password := u.User.Username(), ""
	if u.User != nil {
		password, _ = u.User.Password()
	} else if user, password, err = netrc(u.Hostname()); err != nil {
		return nil, err
	}
	u.User = nil
	sum := sha256.Sum256([]byte("cooper cache 1 " + spec.Name))
	p := &plain{base: strings.TrimSuffix(u.String(), "/") + "/", head: hex.EncodeToString(sum[:])}
	p.client = newClient(func(req *http.Request, _ string) error {
		if user != "" && req.URL.Host == u.Host {
			req.SetBasicAuth(user, password)
		}
		return nil
	})
	return p, nil
}

func (p *plain) blob(d ocispec.Descriptor) string { return p.base + "cas/" + d.Digest.Encoded() }

func (p *plain) Has(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	return p.has(ctx, call{method: http.MethodHead, url: p.blob(d)})
}

// has sends a request whose answer says whether something is there.
func (c *client) has(ctx context.Context, call call) (bool, error) {
	resp, err := c.send(ctx, call)
	if errors.Is(err, content.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, resp.Body.Close()
}

func (p *plain) Get(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	return p.get(ctx, call{method: http.MethodGet, url: p.blob(d)})
}

func (c *client) get(ctx context.Context, call call) (io.ReadCloser, error) {
	resp, err := c.send(ctx, call)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (p *plain) Put(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error {
	return p.put(ctx, call{method: http.MethodPut, url: p.blob(d), body: from, size: d.Size, sum: d.Digest.Encoded(),
		header: map[string]string{"Content-Type": "application/octet-stream"}})
}

// put sends a request whose answer says nothing.
func (c *client) put(ctx context.Context, call call) error {
	resp, err := c.send(ctx, call)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (p *plain) Head(ctx context.Context, limit int64) ([]byte, Mark, error) {
	answer, header, err := p.ask(ctx, call{method: http.MethodGet, url: p.base + "ac/" + p.head}, maxAnswer)
	if err != nil {
		return nil, "", err
	}
	d, err := firstFile(answer)
	if err != nil {
		return nil, "", fmt.Errorf("what is at ac/%s is no head of a cache: %w", p.head, err)
	}
	text, err := content.ReadAll(ctx, Fetcher{p}, d, limit)
	return text, Mark(header.Get("ETag")), err
}

func (p *plain) SetHead(ctx context.Context, text []byte, mark Mark) error {
	d := ocispec.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}
	if err := p.Put(ctx, d, bytes.NewReader(text)); err != nil {
		return err
	}
	header := map[string]string{"Content-Type": "application/octet-stream"}
	if mark != "" {
		header["If-Match"] = string(mark)
	}
	result := resultOf("manifest.json", d)
	return changed(p.put(ctx, call{method: http.MethodPut, url: p.base + "ac/" + p.head, header: header}.brought(result)))
}

// changed is an error about a head: [ErrChanged] if the condition of a request did not hold.
func changed(err error) error {
	if isStatus(err, http.StatusPreconditionFailed, http.StatusConflict) {
		return fmt.Errorf("%w (%w)", ErrChanged, err)
	}
	return err
}

// Fetcher gives blobs of a store by their descriptors.
type Fetcher struct{ Blobs }

var _ content.Fetcher = Fetcher{}

// Fetch is that of [content.Fetcher].
func (f Fetcher) Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("the digest of a blob is none: %w", err)
	}
	return f.Get(ctx, d)
}

// sumOf is the SHA-256 of a text in hexadecimal digits.
func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
