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
	// Origins and Registry say where base images came from. Offline: nobody is asked.
	Origins  Finder
	Registry registry.Options
	Offline  bool
	// Spool makes an empty file without a name for a blob that is fetched, best on the file system of Dir.
	Spool func() (*os.File, error)
	// Quiet is used for [quiet] if it isn't zero.
	Quiet time.Duration
}

// Room has the blobs of one store. It is safe for concurrent use; the caller calls Close.
type Room struct {
	Options
	notes    Notes
	open     func() (*fetch.Sources, error)
	fetching *semaphore.Weighted

	mu     sync.Mutex
	client *registry.Client
	// away are the registries that didn't give what they were asked for: nobody waits for them twice.
	away map[string]bool
}

// New makes a room. It opens nothing, and asks nobody anything.
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

// Pulled keeps a blob that has just been pulled and verified. That it can't be kept is no harm.
func (r *Room) Pulled(ctx context.Context, d ocispec.Descriptor, f *os.File) {
	if strings.HasSuffix(d.MediaType, "gzip") || strings.HasSuffix(d.MediaType, "zstd") {
		r.keep(ctx, d.Digest, "layer that was pulled: "+d.Digest.String(), f)
	}
}

func (r *Room) keep(ctx context.Context, d digest.Digest, label string, f *os.File) {
	if kept, err := r.open(); err == nil {
		_ = kept.KeepBlob(ctx, d, label, f) // it is made or fetched anew when it is needed
	}
}

// For is the keeper of an output.
func (r *Room) For(spec export.Spec) export.Keeper { return keeper{r, spec} }

// keeper has the blobs that one output may have.
type keeper struct {
	*Room
	spec export.Spec
}

var _ export.Keeper = keeper{}

// Blobs are the one that the layer came as, and the one that it was compressed to.
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

// takesCame tells whether a layer may leave as the blob that it came as. Archives for "docker load" have no zstd, and
// layouts have no directory but that of SHA-256.
func (k keeper) takesCame(came ocispec.Descriptor, codec export.Codec) bool {
	return came.Digest != "" && came.Digest.Algorithm() == digest.SHA256 &&
		(!k.spec.Force || came.MediaType == codec.MediaType()) &&
		(k.spec.Type != export.TypeDocker || came.MediaType == ocispec.MediaTypeImageLayerGzip)
}

// Open looks among what is kept, and then where it came from.
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

// Keep keeps a blob and notes what it was made of.
func (k keeper) Keep(ctx context.Context, l export.Blob, d ocispec.Descriptor, f *os.File) {
	k.keep(ctx, d.Digest, "layer that was compressed: "+d.Digest.String(), f)
	_ = k.notes.Put(l, k.spec.Codec(), d) // then it is compressed once more some day
}

// fetch gets a blob from where an image had it that was pulled, and keeps it; nil: nobody gives it.
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
		if !errors.Is(err, registry.ErrNotFound) {
			r.giveUp(of.Domain)
		}
	}
	return nil
}

// reach is what a registry is reached by; nil: it can't be.
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

// origin is where a blob came from.
type origin struct {
	of   reference.Reference
	blob ocispec.Descriptor
}

// errSlow is why a registry is given up.
var errSlow = errors.New("the registry takes longer than the layer takes to be compressed")

// fetchFrom gets a blob in a file, verified.
func (r *Room) fetchFrom(ctx context.Context, client *registry.Client, from origin) (_ *os.File, err error) {
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
	defer func() { err = errors.Join(err, rc.Close()) }()
	verified, err := registry.Verify(alive{rc, func() { silent.Reset(r.Quiet) }}, from.blob)
	if err != nil {
		return nil, err
	}
	file, err := r.Spool()
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(file, verified); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// alive is a reader that tells of all that comes.
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
