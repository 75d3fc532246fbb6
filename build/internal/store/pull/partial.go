package pull

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/partial"
)

// maxEarlier is how many images of the same repository are looked at for files that a new one has, too.
const maxEarlier = 3

// partialSource reads an archive that is made of other layers' files and of parts of the layer's blob. The error is
// partial.ErrWhole where that can't be or little is gained. Whatever is wrong with it, the whole blob may be right. The
// layer's record won't say what blob it came as: nobody has seen whether the blob with that digest holds the same.
func (c *layerCopy) partialSource(ctx context.Context, l *pendingLayer) (*layerSource, error) {
	src, ok := c.src.(partial.Source)
	if !ok || c.opts.Keep != nil || !partial.Possible(l.desc) { // a blob that is wanted comes whole
		return nil, partial.ErrWhole
	}
	index := c.earlier()
	if index.Empty() {
		return nil, partial.ErrWhole
	}
	var came atomic.Int64
	archive, err := partial.Open(ctx, countingSource{src, &came}, l.desc, index)
	if err != nil {
		return nil, err
	}
	stop := c.report(l, archive.Fetched, &came)
	return &layerSource{Reader: archive, done: func(_ context.Context, whole bool) error {
		stop(whole)
		return archive.Close()
	}}, nil
}

// countingSource counts the bytes that come.
type countingSource struct {
	partial.Source
	n *atomic.Int64
}

// FetchPart implements partial.Source.
func (s countingSource) FetchPart(ctx context.Context, d ocispec.Descriptor, offset,
	length int64) (io.ReadCloser, error) {
	rc, err := s.Source.FetchPart(ctx, d, offset, length)
	if err != nil {
		return nil, err
	}
	return countingReader{rc, s.n}, nil
}

// lookEarlier finds the files of earlier images of the repository of a name, except for those of the layers in but.
// What can't be read is left out.
func (r *Room) lookEarlier(ctx context.Context, index *partial.Index, name string, but []digest.Digest) {
	all, err := r.library.Images()
	if err != nil || name == "" {
		return
	}
	mine := repositoryOf(name)
	all = slices.DeleteFunc(all, func(i storage.Image) bool {
		return i.TopLayer == "" || !slices.ContainsFunc(i.Names, func(name string) bool { return repositoryOf(name) == mine })
	})
	slices.SortFunc(all, func(a, b storage.Image) int { return b.Created.Compare(a.Created) })
	seen := map[string]bool{}
	for _, img := range all[:min(len(all), maxEarlier)] {
		chain, err := r.store.UseChain(ctx, img.TopLayer)
		if err != nil {
			continue
		}
		for _, l := range chain {
			if seen[l.ID] || slices.Contains(but, l.DiffID) {
				continue
			}
			seen[l.ID] = true
			_ = r.addEarlier(index, l) // its files come from the source then
		}
	}
}

func (r *Room) addEarlier(index *partial.Index, l store.Layer) error {
	parts, err := r.store.LayerSources(l)
	if err != nil {
		return err
	}
	return errors.Join(index.Add(parts.Dir, parts.Records), parts.Records.Close())
}

// repositoryOf gives a reference without its tag and digest.
func repositoryOf(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name = name[:at]
	}
	return name
}
