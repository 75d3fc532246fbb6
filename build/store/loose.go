package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/store/scratch"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// loose is a snapshot for a step that looks at nothing below it: a plain directory, which becomes a layer by way of an
// archive. It is for stores that don't stage.
type loose struct {
	store  *Store
	dir    string
	tar    *os.File
	diffID digest.Digest
	remove func() error
	once   sync.Once
	err    error
}

var _ Snapshot = (*loose)(nil)

// PrepareLoose makes an empty snapshot that isn't on top of anything: Commit says what it comes to lie on.
func (s *Store) PrepareLoose(ctx context.Context) (Snapshot, error) {
	temp, remove, err := s.TempDir(ctx)
	if err != nil {
		return nil, err
	}
	l := &loose{store: s, dir: filepath.Join(temp, "layer"), remove: remove}
	// Mkdir alone leaves the mode to the umask.
	if err := errors.Join(os.Mkdir(l.dir, 0o755), os.Chmod(l.dir, 0o755)); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare a layer: %w", err), remove())
	}
	return l, nil
}

func (l *loose) Dir() string   { return l.dir }
func (l *loose) Work() string  { return "" }
func (l *loose) Mounted() bool { return false }

func (l *loose) Read(o ReadOptions) (layer.Result, error) {
	var err error
	if l.tar, err = scratch.FileIn(filepath.Dir(l.dir)); err != nil {
		return layer.Result{}, fmt.Errorf("read layer: %w", err)
	}
	res, err := layer.Read(o.Context, l.dir, o.apply(layer.Options{OverlayXattr: l.store.OverlayXattr(), Tar: l.tar}))
	l.diffID = res.DiffID
	return res, err
}

func (l *loose) Commit(ctx context.Context, parent string) (Layer, error) {
	if l.tar == nil {
		return Layer{}, errors.New("commit layer: its digests have not been made")
	}
	if _, err := l.tar.Seek(0, io.SeekStart); err != nil {
		return Layer{}, errors.Join(fmt.Errorf("commit layer: %w", err), l.Remove())
	}
	put, err := l.store.putLayer(ctx, parent, l.diffID, l.tar, plainRoot)
	return put, errors.Join(err, l.Remove())
}

func (l *loose) Remove() error {
	l.once.Do(func() {
		if l.tar != nil {
			l.err = l.tar.Close()
		}
		l.err = errors.Join(l.err, l.remove())
	})
	return l.err
}

// Restack makes another layer with the same archive as l, on top of the parent.
func (s *Store) Restack(ctx context.Context, l Layer, parent string) (made Layer, err error) {
	spool, err := s.scratch.File()
	if err != nil {
		return Layer{}, fmt.Errorf("copy layer %s: %w", l.ID, err)
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	if err := s.spoolTar(l, spool); err != nil {
		return Layer{}, err
	}
	return s.putLayer(ctx, parent, l.DiffID, spool, plainRoot)
}

// spoolTar leaves the file at its beginning. A layer that is being read keeps all others from being made.
func (s *Store) spoolTar(l Layer, spool *os.File) error {
	archive, err := s.LayerTar(l)
	if err != nil {
		return err
	}
	hash := digest.Canonical.Digester()
	_, err = io.Copy(io.MultiWriter(spool, hash.Hash()), archive)
	if err = errors.Join(err, archive.Close()); err == nil && hash.Digest() != l.DiffID {
		err = fmt.Errorf("its archive has the digest %s, not %s", hash.Digest(), l.DiffID)
	}
	if err != nil {
		return fmt.Errorf("copy layer %s: %w", l.ID, err)
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("copy layer %s: %w", l.ID, err)
	}
	return nil
}

// plainRoot are the root directory's attributes of a lowest layer that says nothing of them.
func plainRoot() (layer.RootAttr, error) { return layer.RootAttr{Mode: 0o755}, nil }

// putLayer makes a layer from an archive without an entry for the root, or takes the one that is there. A lowest
// layer's root gets what root gives.
func (s *Store) putLayer(ctx context.Context, parent string, diffID digest.Digest, archive io.Reader,
	root func() (layer.RootAttr, error)) (Layer, error) {
	l, _, err := s.commit(ctx, parent, content{diffID: diffID}, func(id string) (*storage.Layer, error) {
		put, _, err := s.store.PutLayer(id, parent, nil, "", false, &storage.LayerOptions{IDMappingOptions: HostIDs()},
			archive)
		if err != nil || parent != "" {
			return put, err
		}
		attr, err := root()
		if err == nil {
			err = s.giveRoot(id, attr)
		}
		if err != nil {
			err = errors.Join(err, s.RemoveLayer(id))
		}
		return put, err
	})
	return l, err
}
