package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// repository is a repository of a registry. See https://github.com/opencontainers/distribution-spec/blob/main/spec.md
type repository struct {
	at        conf.Endpoint
	host      string
	transport *http.Transport
	client    *http.Client
	// upload is the transport of blob uploads; nil until uploader makes it.
	upload *http.Transport
	auth   *wire.Authorizer
	pace   wire.Pace
	// spare are the connections that downloads may have besides the first one of each.
	spare *semaphore.Weighted

	mu sync.Mutex
	// scheme is http or https; empty until the first request has found out.
	scheme string
}

func (c *Client) newRepository(e conf.Endpoint, actions string) (*repository, error) {
	dir, err := conf.CertDir(c.opts.CertDir, e.Ref.Domain)
	if err != nil {
		return nil, err
	}
	transport, err := wire.NewTransport(dir, e.Insecure)
	if err != nil {
		return nil, err
	}
	r := &repository{at: e, host: e.Ref.Domain, transport: transport, pace: c.pace, spare: c.spare}
	if r.host == hub {
		r.host = hubHost
	}
	var next http.RoundTripper = transport
	if !e.Insecure {
		r.scheme, next = "https", wire.Secure(transport)
	}
	next = c.pace.Patient(next)
	r.client = &http.Client{Transport: next, CheckRedirect: wire.SafeRedirect}
	r.auth = &wire.Authorizer{
		Client: &http.Client{Transport: next, CheckRedirect: wire.NoRedirect}, Pace: c.pace, Host: r.host, Name: e.Ref.Domain,
		Path: e.Ref.Path, Actions: actions,
		Find: func(ctx context.Context) (credentials.Credential, error) {
			if c.opts.Username != "" {
				return credentials.Credential{Username: c.opts.Username, Password: c.opts.Password}, nil
			}
			return credentials.Find(ctx, c.opts.AuthFile, e.Ref.Name())
		},
	}
	return r, nil
}

// url is the URL of a path below the repository. For an insecure registry it finds out once whether HTTPS works.
func (r *repository) url(ctx context.Context, path string, query url.Values) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.scheme == "" {
		secure := r.ping(ctx, "https")
		r.scheme = "https"
		if secure != nil {
			if plain := r.ping(ctx, "http"); plain != nil {
				r.scheme = ""
				return "", errors.Join(secure, plain)
			}
			r.scheme = "http"
		}
	}
	u := url.URL{Scheme: r.scheme, Host: r.host, Path: "/v2/" + r.at.Ref.Path + "/" + path, RawQuery: query.Encode()}
	if r.at.Namespace != "" {
		u.RawQuery = url.Values{"ns": {r.at.Namespace}}.Encode()
	}
	return u.String(), nil
}

// ping tells whether a registry answers at all; any answer will do.
func (r *repository) ping(ctx context.Context, scheme string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+r.host+"/v2/", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: r.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// call is one request to a repository.
type call struct {
	method string
	// path is the path below the repository, to which query is added; at is the whole URL instead, unless empty.
	path, at string
	query    url.Values
	header   http.Header
	// body is the body of the request; nil: none.
	body []byte
}

// get requests a path below the repository. The caller closes the response's body.
func (r *repository) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	return r.do(ctx, r.auth, call{method: http.MethodGet, path: path, header: header})
}

// do sends a request with the Authorization header of auth, and renews that header if the registry refuses the request
// for it. The caller closes the response's body.
func (r *repository) do(ctx context.Context, auth *wire.Authorizer, c call) (*http.Response, error) {
	if c.at == "" {
		at, err := r.url(ctx, c.path, c.query)
		if err != nil {
			return nil, err
		}
		c.at = at
	}
	if !r.owns(c.at) {
		return ask(ctx, r.client, c)
	}
	header, fresh := auth.Current(), false
	for {
		resp, err := send(ctx, r.client, c, header)
		if err != nil || fresh || resp.StatusCode != http.StatusUnauthorized || resp.Request.URL.Host != r.host {
			return resp, err
		}
		header, fresh, err = auth.Renew(ctx, resp, header)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return nil, &wire.LoginError{Cause: cause(ctx, err)}
		}
	}
}

// owns tells whether a URL is one of the registry itself: credentials are sent to no other.
func (r *repository) owns(at string) bool {
	u, err := url.Parse(at)
	r.mu.Lock()
	defer r.mu.Unlock()
	return err == nil && u.Scheme == r.scheme && u.Host == r.host
}

func send(ctx context.Context, client *http.Client, c call, authorization string) (*http.Response, error) {
	c.header = c.header.Clone()
	if c.header == nil {
		c.header = http.Header{}
	}
	if authorization != "" {
		c.header.Set("Authorization", authorization)
	}
	return ask(ctx, client, c)
}

// cause is the cause of the end of ctx if ctx has ended, else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// resolve fetches the manifest that a tag or digest names.
func (r *repository) resolve(ctx context.Context, ref reference.Reference) (*Remote, error) {
	name := ref.Tag
	if ref.Digest != "" {
		name = ref.Digest.String()
	}
	text, kind, err := r.manifest(ctx, name)
	if err != nil {
		return nil, err
	}
	root := ocispec.Descriptor{MediaType: kind, Size: int64(len(text)), Digest: digest.FromBytes(text)}
	if ref.Digest != "" {
		root.Digest = ref.Digest
		if got := ref.Digest.Algorithm().FromBytes(text); got != ref.Digest {
			return nil, fmt.Errorf("the registry's manifest for %s has digest %s", ref.Digest, got)
		}
	}
	return &Remote{Root: root, repo: r, text: text}, nil
}

// manifest fetches a manifest or index by tag or digest.
func (r *repository) manifest(ctx context.Context, name string) (text []byte, mediaType string, err error) {
	a, err := r.pace.Ask(ctx, content.MaxManifest, func() (*http.Response, error) {
		resp, err := r.get(ctx, "manifests/"+name, http.Header{"Accept": {strings.Join(content.ManifestTypes(), ", ")}})
		if err == nil && resp.StatusCode != http.StatusOK {
			err = wire.NewStatusError(resp, r.at.Ref.Domain)
		}
		return resp, err
	})
	if err != nil {
		return nil, "", err
	}
	mediaType, _, err = mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		mediaType = "" // parseManifest finds the type out by the text
	}
	return a.Text, mediaType, nil
}

// Remote is an image in a registry.
type Remote struct {
	// Root describes the manifest or index that the image's name leads to.
	Root ocispec.Descriptor

	repo *repository
	text []byte
}

var _ content.Fetcher = (*Remote)(nil)

// FetchPart opens length bytes of a blob from an offset on. A registry that gives no parts is an error.
func (i *Remote) FetchPart(ctx context.Context, d ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	return i.repo.part(ctx, d, offset, length)
}

// Fetch opens a manifest or blob. If the connection breaks, the download resumes at the byte where it
// broke.
func (i *Remote) Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if d.Digest == i.Root.Digest {
		return io.NopCloser(bytes.NewReader(i.text)), nil
	}
	if content.IsManifest(d.MediaType) {
		text, _, err := i.repo.manifest(ctx, d.Digest.String())
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return i.repo.blob(ctx, d)
}
