package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// bucket is a store in a bucket of S3 or of a server that speaks its protocol.
type bucket struct {
	*client
	// base is the address of the bucket, with a slash at its end; blobs and head are names in it.
	base, blobs, head string
}

var _ Store = (*bucket)(nil)

// maxObject is how many bytes S3 takes in one request.
const maxObject = 5 << 30

func newBucket(spec sharedcache.Spec) (*bucket, error) {
	a, err := findAccount(spec)
	if err != nil {
		return nil, err
	}
	s := spec.Bucket
	u, err := url.Parse(cmp.Or(a.endpoint, "https://s3."+a.region+".amazonaws.com"))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the address of the S3 server is none\nhint: such as endpoint_url=https://s3.example.com")
	}
	// A certificate for *.HOST is none for a name with more dots, and an address has no names below it.
	if s.PathStyle || strings.Contains(s.Name, ".") {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/" + s.Name + "/"
	} else {
		u.Host, u.Path = s.Name+"."+u.Host, strings.TrimSuffix(u.Path, "/")+"/"
	}
	if strings.Contains(s.SecretAccessKey, "\n") || (a.id == "") != (a.secret == "") {
		return nil, errors.New("an access key without a secret key, or the other way round, signs nothing")
	}
	return &bucket{client: newClient(signer{a.keys, a.region, time.Now}.sign), base: u.Scheme + "://" + u.Host + u.Path,
		blobs: s.Prefix + cmp.Or(s.BlobsPrefix, "blobs/"),
		head:  s.Prefix + cmp.Or(s.ManifestsPrefix, "manifests/") + spec.Name}, nil
}

func (b *bucket) at(name string) string { return b.base + strings.TrimPrefix(escape(name, true), "/") }

func (b *bucket) blob(d ocispec.Descriptor) string { return b.at(b.blobs + d.Digest.String()) }

func (b *bucket) Has(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	return b.has(ctx, call{method: http.MethodHead, url: b.blob(d)})
}

func (b *bucket) Get(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	return b.get(ctx, call{method: http.MethodGet, url: b.blob(d)})
}

func (b *bucket) Put(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error {
	if d.Size > maxObject {
		return fmt.Errorf("the blob %s has %d bytes, more than S3 takes in one object: %d\nhint: type=registry has no such limit",
			d.Digest, d.Size, int64(maxObject))
	}
	return b.put(ctx, call{method: http.MethodPut, url: b.blob(d), body: from, size: d.Size, sum: d.Digest.Encoded()})
}

func (b *bucket) Head(ctx context.Context, limit int64) ([]byte, Mark, error) {
	text, header, err := b.ask(ctx, call{method: http.MethodGet, url: b.at(b.head)}, limit)
	if errors.Is(err, content.ErrNotFound) && strings.Contains(err.Error(), "NoSuchBucket") {
		return nil, "", fmt.Errorf("the bucket is not there (%s)", err.Error()) // no empty cache: its text only
	}
	if err != nil {
		return nil, "", err
	}
	return text, Mark(header.Get("ETag")), nil
}

func (b *bucket) SetHead(ctx context.Context, text []byte, mark Mark) error {
	condition := map[string]string{"If-None-Match": "*"}
	if mark != "" {
		condition = map[string]string{"If-Match": string(mark)}
	}
	put := call{method: http.MethodPut, url: b.at(b.head), header: condition}.brought(text)
	err := b.put(ctx, put)
	if isStatus(err, http.StatusNotImplemented, http.StatusBadRequest) { // a server without conditions
		put.header = nil
		err = b.put(ctx, put)
	}
	if mark != "" && isStatus(err, http.StatusNotFound) { // somebody has removed it since
		return fmt.Errorf("%w (%w)", ErrChanged, err)
	}
	return changed(err)
}
