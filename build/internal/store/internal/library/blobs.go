package library

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/lockfile"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// Blob is what a layer was pulled as. Digest is that of the blob, Size its size in bytes.
type Blob struct {
	Digest      digest.Digest
	Size        int64
	Compression archive.Compression
}

// NoteBlobs writes into the records of layers, by ID, how large their blobs were and how these were compressed, and
// takes the flag out by which they were made: the records are as those of layers that the library has unpacked. The
// library writes that only for layers that it unpacks, and has no call for others: so this is done as it does it, under
// its lock, after the note that the list has changed, and by a rename. Layers that are gone are left out.
func (l *layers) NoteBlobs(blobs map[string]Blob) error {
	return l.fuse.do(func() error {
		dir := filepath.Join(l.store.GraphRoot(), l.store.GraphDriverName()+"-layers")
		lock, err := lockfile.GetLockFile(filepath.Join(dir, "layers.lock"))
		if err != nil {
			return err
		}
		lock.Lock()
		defer lock.Unlock()
		list := filepath.Join(dir, "layers.json")
		text, err := os.ReadFile(list)
		if err != nil {
			return err
		}
		if text, err = withBlobs(text, blobs); err != nil {
			return fmt.Errorf("read %s: %w", list, err)
		}
		if _, err := lock.RecordWrite(); err != nil {
			return err
		}
		// In cooper's own directory, where the next start finds what a killed process has left.
		return fsys.Replace(list, text, fsys.ReplaceOptions{Sync: true, TempDir: l.own})
	})
}

// withBlobs changes a list of layers. What it doesn't know stays as it is.
func withBlobs(list []byte, blobs map[string]Blob) ([]byte, error) {
	var records []map[string]json.RawMessage
	if err := json.Unmarshal(list, &records); err != nil {
		return nil, err
	}
	for _, r := range records {
		var id string
		var digest digest.Digest
		if json.Unmarshal(r["id"], &id) != nil || json.Unmarshal(r["compressed-diff-digest"], &digest) != nil {
			continue
		}
		b, ok := blobs[id]
		if !ok || b.Digest != digest {
			continue
		}
		for key, n := range map[string]int64{"compressed-size": b.Size, "compression": int64(b.Compression)} {
			if n != 0 {
				r[key] = json.RawMessage(fmt.Sprint(n))
			}
		}
		var flags map[string]json.RawMessage
		if json.Unmarshal(r["flags"], &flags) == nil {
			delete(flags, madeFlag)
			if r["flags"], _ = json.Marshal(flags); len(flags) == 0 { // it was JSON before
				delete(r, "flags")
			}
		}
	}
	return json.Marshal(records)
}
