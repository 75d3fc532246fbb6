package blobs

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/fetch"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

const (
	// quiet is how long a registry may send nothing, and leastRate how many bytes a second it has to send over the whole
	// of a blob: to compress the layer anew takes less.
	quiet     = 10 * time.Second
	leastRate = 1 << 20
	// maxFetches is how many blobs are fetched at once.
	maxFetches = 4
)

// Finder knows which images had a blob when they were pulled.
type Finder interface {
	Origins(blob digest.Digest) ([]reference.Reference, error)
}

// Options say where blobs are.
type Options struct {
	Cache *cache.Cache
	// Dir is the directory of the remote sources, in which blobs are kept.
	Dir string
	// Origins and Registry say where base images came from and how to reach that. Offline: no registry is asked.
	Origins  Finder
	Registry registry.Options
	Offline  bool
	// Spool makes an empty file without a name for a blob that is fetched, best on the file system of Dir.
	Spool func() (*os.File, error)
	// Quiet replaces the constant [quiet]; 0: the constant is used.
	Quiet time.Duration
}

// Room finds and keeps the blobs of the layers of one store. It is safe for concurrent use; the caller calls Close.
type Room struct {
	Options
	notes    Notes
	open     func() (*fetch.Sources, error)
	fetching *semaphore.Weighted

	mu     sync.Mutex
	client *registry.Client
	// away are the registries that have failed to give a blob, by domain; they are not asked again.
	away map[string]bool
}

// New makes a room. It opens no file and sends no request.
func New(o Options) *Room {
	if o.Quiet == 0 {
		o.Quiet = quiet
	}
	return &Room{Options: o, notes: Notes{Cache: o.Cache}, fetching: semaphore.NewWeighted(maxFetches),
		open: sync.OnceValues(func() (*fetch.Sources, error) { return fetch.Open(o.Dir) }), away: map[string]bool{}}
}

// Close ends idle connections.
func (r *Room) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		r.client.Close()
		r.client = nil
	}
}

// Pulled keeps a blob that has just been pulled and verified. Errors are ignored: the blob
// is made or fetched anew when it is needed.
func (r *Room) Pulled(ctx context.Context, d ocispec.Descriptor, f *os.File) {
	if strings.HasSuffix(d.MediaType, "gzip") || strings.HasSuffix(d.MediaType, "zstd") {
		r.keep(ctx, d.Digest, "layer that was pulled: "+d.Digest.String(), f)
	}
}

func (r *Room) keep(ctx context.Context, d digest.Digest, label string, f *os.File) {
	if kept, err := r.open(); err == nil {
		_ = kept.KeepBlob(ctx, d, label, f) // the blob is made or fetched anew when it is needed
	}
}

// For is the keeper that the writer of an output gets its blobs from.
func (r *Room) For(spec export.Spec) export.Keeper { return keeper{r, spec} }

// keeper finds and keeps the blobs that one output accepts.
type keeper struct {
	*Room
	spec export.Spec
}

var _ export.Keeper = keeper{}

// Blobs describes up to two blobs of a layer: the one it was pulled as, and the one it was compressed to.
func (k keeper) Blobs(l export.Blob) (all []ocispec.Descriptor) {
	codec := k.spec.Codec()
	if k.takesCame(l.Came, codec) {
		all = append(all, l.Came)
	}
	if d, ok := k.notes.Get(l, codec); ok && codec.Kind != export.Uncompressed {
		all = append(all, d)
	}
	return all
}

// takesCame tells whether the output may have a layer as the blob that it was pulled as. Archives for "docker load"
// have no zstd, and layouts have no directory but that of SHA-256.
func (k keeper) takesCame(came ocispec.Descriptor, codec export.Codec) bool {
	return came.Digest != "" && came.Digest.Algorithm() == digest.SHA256 &&
		(!k.spec.Force || codec.Makes(came)) &&
		(k.spec.Type != export.TypeDocker && k.spec.Type != export.TypeDir ||
			came.MediaType == ocispec.MediaTypeImageLayerGzip)
}

// Open opens a blob: the kept one, or else one from the registry that it was pulled from.
func (k keeper) Open(ctx context.Context, d ocispec.Descriptor) (*os.File, error) {
	var file *os.File
	if kept, err := k.open(); err == nil {
		file, _ = kept.Blob(ctx, d)
	}
	if file == nil && !k.Offline {
		file = k.fetch(ctx, d)
	}
	if ctx.Err() == nil {
		return file, nil
	}
	if file != nil {
		_ = file.Close()
	}
	return nil, context.Cause(ctx)
}

// Keep keeps a blob and notes which layer it was made of.
func (k keeper) Keep(ctx context.Context, l export.Blob, d ocispec.Descriptor, f *os.File) {
	k.keep(ctx, d.Digest, "layer that was compressed: "+d.Digest.String(), f)
	_ = k.notes.Put(l, k.spec.Codec(), d) // without the note the layer is only compressed once more
}

// fetch gets a blob from the repository of a pulled image that had it, and keeps the blob; nil: no repository gives it.
func (r *Room) fetch(ctx context.Context, d ocispec.Descriptor) *os.File {
	if r.Origins == nil || r.fetching.Acquire(ctx, 1) != nil {
		return nil
	}
	defer r.fetching.Release(1)
	origins, err := r.Origins.Origins(d.Digest)
	if err != nil {
		return nil
	}
	for _, of := range origins {
		client := r.reach(of.Domain)
		if client == nil {
			continue
		}
		file, err := r.fetchFrom(ctx, client, origin{of, d})
		if err == nil {
			r.keep(ctx, d.Digest, of.String()+" "+d.Digest.String(), file)
			return file
		}
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, content.ErrNotFound) {
			r.giveUp(of.Domain)
		}
	}
	return nil
}

// reach is the client for a registry; nil: the registry can't be reached or has failed before.
func (r *Room) reach(domain string) *registry.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away[domain] {
		return nil
	}
	if r.client == nil {
		client, err := registry.NewClient(r.Registry)
		if err != nil {
			return nil
		}
		r.client = client
	}
	return r.client
}

func (r *Room) giveUp(domain string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away[domain] = true
}

// origin is an image that was pulled, and a blob that it had.
type origin struct {
	of   reference.Reference
	blob ocispec.Descriptor
}

// errSlow is the reason to give a registry up that is too slow.
var errSlow = errors.New("the registry takes longer than the layer takes to be compressed")

// fetchFrom downloads a blob into a file and verifies it.
func (r *Room) fetchFrom(ctx context.Context, client *registry.Client, from origin) (*os.File, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(r.Quiet, func() { cancel(errSlow) })
	defer silent.Stop()
	whole := time.AfterFunc(r.Quiet+time.Duration(from.blob.Size/leastRate)*time.Second, func() { cancel(errSlow) })
	defer whole.Stop()
	rc, err := client.FetchBlob(ctx, from.of, from.blob)
	if err != nil {
		return nil, err
	}
	return r.spool(rc, from.blob, func() { silent.Reset(r.Quiet) })
}

// spool reads a blob into a file, verifies and closes it. came is called whenever some of it has come.
func (r *Room) spool(rc io.ReadCloser, blob ocispec.Descriptor, came func()) (file *os.File, err error) {
	defer func() {
		if err = errors.Join(err, rc.Close()); err != nil && file != nil {
			file, err = nil, errors.Join(err, file.Close())
		}
	}()
	verified, err := content.Verify(alive{rc, came}, blob)
	if err != nil {
		return nil, err
	}
	if file, err = r.Spool(); err != nil {
		return nil, err
	}
	_, err = io.Copy(file, verified)
	return file, err
}

// alive is a reader that reports all bytes that arrive, so that a stalled download is noticed.
type alive struct {
	io.Reader
	came func()
}

func (a alive) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if n > 0 {
		a.came()
	}
	return n, err
}
