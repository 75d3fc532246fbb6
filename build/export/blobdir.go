package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/outfile"
)

// dirVersion is the text of the file version in a directory of skopeo's dir: transport.
const dirVersion = "Directory Transport Version: 1.1\n"

// blobDir writes the directory of skopeo's dir: transport: manifest.json, and each blob by the hex digits of its
// digest. See containers-transports(5).
type blobDir struct{ *layout }

var _ form = blobDir{}

// openBlobDir makes a directory, which must be new or empty: in one with another image nobody could tell whose blobs
// are whose.
func openBlobDir(dest string) (blobDir, error) {
	dir, err := outfile.OpenDir(dest, false)
	if err != nil {
		return blobDir{}, err
	}
	b := blobDir{&layout{dest: filepath.Clean(dest), dir: dir}}
	if dir.There() {
		entries, err := os.ReadDir(dir.Path())
		if err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !outfile.IsTemp(e.Name()) }) {
			err = errors.New("it is not empty")
		}
		if err != nil {
			dir.Close()
			return blobDir{}, fmt.Errorf("open directory %s: %w", dest, cause(err))
		}
	}
	return b, nil
}

// has is of no use: the directory is empty.
func (b blobDir) has(ocispec.Descriptor) *os.File { return nil }

// commit gives the blobs their names, the manifest's last.
func (b blobDir) commit(ctx context.Context, c contents) error {
	into := b.dir.Path()
	if !b.dir.There() {
		into = b.dir.Temp()
	}
	err := b.fill(ctx, into, c.entries[0])
	if err == nil && !b.dir.There() {
		err = b.dir.Commit()
	}
	if err != nil {
		b.undo()
	}
	return err
}

func (b blobDir) fill(ctx context.Context, into string, manifest ocispec.Descriptor) error {
	name := func(d ocispec.Descriptor) string {
		if d.Digest == manifest.Digest {
			return dockerManifestName
		}
		return d.Digest.Encoded()
	}
	version := filepath.Join(into, "version")
	b.made = append(b.made, version)
	if err := outfile.WriteFile(ctx, version, []byte(dirVersion)); err != nil {
		return fmt.Errorf("write version of %s: %w", b.dest, cause(err))
	}
	for _, blob := range b.blobs {
		to := filepath.Join(into, name(blob.Descriptor))
		if err := os.Rename(blob.path, to); err != nil {
			return fmt.Errorf("create blob %s: %w", filepath.Join(b.dest, name(blob.Descriptor)), cause(err))
		}
		b.made = append(b.made, to)
	}
	syncDir(into)
	return nil
}
