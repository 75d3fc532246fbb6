package objects

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/internal/printable"
)

const (
	// servicePath is where version 2 of the service has its methods.
	servicePath = "/twirp/github.actions.results.api.v1.CacheService/"
	// entryVersion is the version that all entries have: entries of another one are not found.
	entryVersion = "cooper cache 1"
	// block is how many bytes of a blob one request brings.
	block = 64 << 20
)

// service is the cache service of GitHub Actions, version 2. Its entries never change, and of those whose name begins
// in one way it finds the latest. So each head is an entry with the next number, and a number that is taken already
// says that there was another writer. Which entries a job finds is the service's to say: those of its own branch, and
// of the branches that it came from.
type service struct {
	api, files *client
	base       string
	version    string
	head       string
	// taken is the number of a head that could not be written since there was one.
	taken atomic.Uint64
}

var _ Store = (*service)(nil)

func newService(spec sharedcache.Spec) (*service, error) {
	base, token := spec.URL, spec.Service.Token
	if base == "" {
		base = os.Getenv("ACTIONS_RESULTS_URL")
	}
	if token == "" {
		token = os.Getenv("ACTIONS_RUNTIME_TOKEN")
	}
	if base == "" || token == "" {
		return nil, errors.New("ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN are not set" +
			"\nhint: GitHub gives them to actions only: contrib/ci/github.yml shows how a job's commands get them")
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("ACTIONS_RESULTS_URL is no address")
	}
	s := &service{base: strings.TrimSuffix(base, "/") + servicePath, head: "cooper-index-" + spec.Name + "#",
		version: sumOf([]byte(entryVersion)), files: newClient(nil)}
	s.api = newClient(func(req *http.Request, _ string) error {
		req.Header.Set("Authorization", "Bearer "+token)
		return nil
	})
	return s, nil
}

// entry is what the service is asked for, or what it answers.
type entry struct {
	Key         string   `json:"key,omitempty"`
	RestoreKeys []string `json:"restore_keys,omitempty"`
	Version     string   `json:"version,omitempty"`
	Size        int64    `json:"size_bytes,omitempty"`

	OK          bool   `json:"ok,omitempty"`
	UploadURL   string `json:"signed_upload_url,omitempty"`
	DownloadURL string `json:"signed_download_url,omitempty"`
	Matched     string `json:"matched_key,omitempty"`
	Message     string `json:"message,omitempty"`
}

// call calls a method of the service.
func (s *service) call(ctx context.Context, method string, about entry) (entry, error) {
	about.Version = s.version
	text, err := json.Marshal(about)
	if err != nil {
		return entry{}, err
	}
	answer, _, err := s.api.ask(ctx, call{method: http.MethodPost, url: s.base + method,
		header: map[string]string{"Content-Type": "application/json"}}.brought(text), maxAnswer)
	if err != nil {
		return entry{}, err
	}
	var got struct {
		entry
		// The service writes numbers of 64 bits as strings.
		Size json.RawMessage `json:"size_bytes"`
		ID   json.RawMessage `json:"entry_id"`
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return entry{}, fmt.Errorf("%s: the answer is no JSON: %w", method, err)
	}
	return got.entry, nil
}

// blobKey is what the name of a blob's entry begins with. A number by chance follows, since a name that a killed writer
// has left can't be taken once more.
func blobKey(d ocispec.Descriptor) string { return "cooper-blob-" + d.Digest.String() + "#" }

// find finds the latest entry whose name begins in a way, and the number that follows.
func (s *service) find(ctx context.Context, begin string) (got entry, number uint64, err error) {
	got, err = s.call(ctx, "GetCacheEntryDownloadURL", entry{Key: begin, RestoreKeys: []string{begin}})
	if err == nil && !got.OK || isStatus(err, http.StatusNotFound) {
		return got, 0, fmt.Errorf("there is no entry %s: %w", begin, content.ErrNotFound)
	}
	if err != nil {
		return got, 0, err
	}
	text, ok := strings.CutPrefix(got.Matched, begin)
	if number, err = strconv.ParseUint(text, 10, 63); err != nil || !ok {
		return got, 0, fmt.Errorf("the service gives the entry %q for the beginning %q", printable.Clip(got.Matched), begin)
	}
	return got, number, nil
}

func (s *service) Has(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	_, _, err := s.find(ctx, blobKey(d))
	if errors.Is(err, content.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *service) Get(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	got, _, err := s.find(ctx, blobKey(d))
	if err != nil {
		return nil, err
	}
	return s.files.get(ctx, call{method: http.MethodGet, url: got.DownloadURL})
}

func (s *service) Put(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error {
	number := strconv.FormatUint(uint64(rand.Uint32()), 10) //nolint:gosec // nobody gains by knowing it before
	return s.write(ctx, blobKey(d)+number, d.Size, from)
}

// write makes an entry. The error is [ErrChanged] if there is one of that name.
func (s *service) write(ctx context.Context, key string, size int64, from io.ReaderAt) error {
	got, err := s.call(ctx, "CreateCacheEntry", entry{Key: key})
	if isStatus(err, http.StatusConflict) || err == nil && !got.OK {
		return fmt.Errorf("%w (%s)", ErrChanged, printable.Clip(got.Message))
	}
	if err != nil {
		return err
	}
	if err := s.upload(ctx, got.UploadURL, size, from); err != nil {
		return err
	}
	got, err = s.call(ctx, "FinalizeCacheEntryUpload", entry{Key: key, Size: size})
	if err == nil && !got.OK {
		err = fmt.Errorf("the entry %s could not be finished: %s", key, printable.Clip(got.Message))
	}
	return err
}

// upload brings a file to where the service keeps it, a block blob of Azure: whole, or in blocks.
func (s *service) upload(ctx context.Context, to string, size int64, from io.ReaderAt) error {
	kind := map[string]string{"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
	if size <= block {
		return s.files.put(ctx, call{method: http.MethodPut, url: to, header: kind, body: from, size: size})
	}
	u, err := url.Parse(to)
	if err != nil {
		return errors.New("the service gives an address that is none")
	}
	part := func(values ...string) string {
		query := u.Query()
		for i := 0; i < len(values); i += 2 {
			query.Set(values[i], values[i+1])
		}
		v := *u
		v.RawQuery = query.Encode()
		return v.String()
	}
	var list bytes.Buffer
	list.WriteString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	for at := int64(0); at < size; at += block {
		id := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(at)))
		n := min(block, size-at)
		if err := s.files.put(ctx, call{method: http.MethodPut, url: part("comp", "block", "blockid", id), size: n,
			body: io.NewSectionReader(from, at, n)}); err != nil {
			return err
		}
		list.WriteString("<Latest>" + id + "</Latest>")
	}
	list.WriteString("</BlockList>")
	return s.files.put(ctx, call{method: http.MethodPut, url: part("comp", "blocklist"),
		header: map[string]string{"Content-Type": "application/xml"}}.brought(list.Bytes()))
}

// Head is that of the interface; its mark is the number of the entry.
func (s *service) Head(ctx context.Context, limit int64) ([]byte, Mark, error) {
	got, number, err := s.find(ctx, s.head)
	if err != nil {
		return nil, "", err
	}
	text, _, err := s.files.ask(ctx, call{method: http.MethodGet, url: got.DownloadURL}, limit)
	return text, Mark(strconv.FormatUint(number, 10)), err
}

// maxJump is how far the next number may be from the last at most.
const maxJump = 1 << 20

// SetHead is that of the interface. A number that was taken twice while the head stayed is that of a writer that was
// killed: another one is taken by chance.
func (s *service) SetHead(ctx context.Context, text []byte, mark Mark) error {
	number := uint64(0)
	if mark != "" {
		var err error
		if number, err = strconv.ParseUint(string(mark), 10, 63); err != nil {
			return err
		}
	}
	next := number + 1
	if s.taken.Load() == next {
		next += 1 + rand.Uint64N(maxJump) //nolint:gosec // nobody gains by knowing it before
	}
	err := s.write(ctx, s.head+strconv.FormatUint(next, 10), int64(len(text)), bytes.NewReader(text))
	if errors.Is(err, ErrChanged) {
		s.taken.Store(next)
	}
	return err
}
