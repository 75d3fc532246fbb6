package export

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export/internal/estargz"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Annotations of a blob in eStargz: the digest of its table, by which snapshotters trust it, the size of the layer with
// its table, and the diff ID of that.
const (
	stargzTable = "containerd.io/snapshot/stargz/toc.digest"
	stargzSize  = "io.containers.estargz.uncompressed-size"
	stargzID    = "containerd.io/uncompressed"
)

// stargz is the compressor of eStargz. Close says what became of the layer.
type stargz struct {
	*io.PipeWriter
	notes map[string]string
	done  chan struct{}
	err   error
}

func newStargz(dst io.Writer, notes map[string]string, level int) *stargz {
	from, to := io.Pipe()
	s := &stargz{PipeWriter: to, notes: notes, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = guard.Call(func() error {
			l, err := estargz.Pack(dst, from, level)
			if err != nil {
				return err
			}
			s.notes[stargzTable], s.notes[stargzID] = l.Table.String(), l.DiffID.String()
			s.notes[stargzSize] = strconv.FormatInt(l.Size, 10)
			return nil
		})
		_ = from.CloseWithError(s.err) // always nil
	}()
	return s
}

// Close waits until the blob is whole.
func (s *stargz) Close() error {
	_ = s.PipeWriter.Close() // always nil
	<-s.done
	return s.err
}

// As is the image with these blobs as its layers. Those that were compressed as eStargz are other layers than those
// that they were compressed from, so that its config is another one.
func (i Image) As(layers []ocispec.Descriptor) (Image, error) {
	ids, other := make([]digest.Digest, len(layers)), false
	for n, l := range i.Layers {
		ids[n] = l.DiffID
		// What a registry says of a blob that the layer was pulled as counts for nothing.
		if id := digest.Digest(layers[n].Annotations[stargzID]); id != "" && layers[n].Digest != l.Came.Digest {
			ids[n], other = id, true
		}
	}
	if !other {
		return i, nil
	}
	var config, rootfs map[string]json.RawMessage
	err := json.Unmarshal(i.Config, &config)
	if err == nil {
		err = json.Unmarshal(config["rootfs"], &rootfs)
	}
	if err == nil {
		rootfs["diff_ids"], err = Marshal(ids)
	}
	if err == nil {
		config["rootfs"], err = Marshal(rootfs)
	}
	if err == nil {
		i.Config, err = Marshal(config)
	}
	if err != nil {
		return i, fmt.Errorf("write the config of an image in eStargz: %w", err)
	}
	return i, nil
}
