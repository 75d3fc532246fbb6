package shift

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/imagebuilder/layer/owners"
	locks "github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/userns"
)

// Shifted copies are in DIR/shifted/KEY/LAYER. KEY is a digest of the host IDs that the mapping gives the IDs in the
// layer, so mappings that agree on those share a copy. DIR/owners/LAYER lists the IDs in the layer.
const (
	shiftedDir = "shifted"
	ownersDir  = "owners"
	// lockSuffix ends the name of the file beside a copy that is locked while the copy is made.
	lockSuffix = ".lock"
)

// A Room makes, finds and removes the copies of one store's layers. It is safe for concurrent use, by several processes
// too.
type Room struct {
	store *store.Store
	lib   *library.Library
	uses  *uses.Ledger
}

// New gives the room of a store.
func New(s *store.Store) *Room {
	return &Room{store: s, lib: library.Of(s.Parts().Library), uses: s.Parts().Uses}
}

// MappingKey gives a text that identifies a mapping.
func MappingKey(m userns.Mapping) string {
	sum := sha256.Sum256([]byte(m.UIDs.String() + "\n\n" + m.GIDs.String()))
	return hex.EncodeToString(sum[:16])
}

// ToDisk translates the container IDs of an image to the host IDs that a step with the mapping gives files on disk;
// ToImage translates back.
func ToDisk(m userns.Mapping) owners.Translation {
	return owners.Translation{UID: m.UIDs.ToHost, GID: m.GIDs.ToHost}
}

// ToImage translates the host IDs of files on disk to container IDs.
func ToImage(m userns.Mapping) owners.Translation {
	return owners.Translation{UID: m.UIDs.ToContainer, GID: m.GIDs.ToContainer}
}

// Dir gives a directory with a layer's files, with the owners on disk that the mapping gives them. It is a copy,
// which the first call makes and which stays until the layer is removed, or the driver's own directory if no owner
// differs. In a store whose driver stacks layers it has the files of the layer alone, like DiffDir; in another store it
// has all files that a container of the layer sees. The layer must be complete.
func (r *Room) Dir(ctx context.Context, id string, m userns.Mapping) (dir string, err error) {
	if dir, err = r.dir(ctx, id, m); err != nil {
		return "", fmt.Errorf("shift layer %s for the ID map %q: %w", id, strings.ReplaceAll(m.UIDs.String(), "\n", ", "),
			err)
	}
	return dir, nil
}

func (r *Room) dir(ctx context.Context, id string, m userns.Mapping) (dir string, err error) {
	from, err := r.filesOf(id)
	if err != nil {
		return "", err
	}

	ids, err := r.idsIn(ctx, id, from)
	if err != nil {
		return "", err
	}

	key, same := copyKey(ids, m)
	if same {
		return from, nil
	}

	path := filepath.Join(r.store.Paths().Own, shiftedDir, key, id)
	size := r.uses.Read(uses.Thing{Kind: uses.Layers, Name: id})
	var lock *os.File
	// The use is recorded before the copy is made, so that a removal of copies sees it.
	err = r.uses.WhileUsing(ctx, func() error {
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			lock, err = os.OpenFile(path+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
		}
		if err != nil {
			return err
		}
		return r.uses.Note(uses.Thing{Kind: uses.Copies, Name: key + "." + id}, func(n *uses.Entry) {
			if n.Label == "" {
				*n = uses.Entry{Size: size.Size, Measured: size.Measured, Label: mapText(m)}
			}
		})
	})

	if lock != nil {
		defer lock.Close()
	}
	if err != nil || fsys.Exists(path) {
		return path, err
	}
	if err := locks.Lock(ctx, lock, locks.Exclusive); err != nil {
		return "", fmt.Errorf("wait for another build: %w", err)
	}

	if fsys.Exists(path) {
		return path, nil
	}
	return path, r.makeCopy(ctx, from, path, m)
}

// idsIn gives the IDs of a layer's files, which are in the directory from. They are stored, so that they are looked for
// once.
func (r *Room) idsIn(ctx context.Context, id, from string) (ids userns.IDs, err error) {
	path := filepath.Join(r.store.Paths().Own, ownersDir, id)
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &ids) == nil {
		return ids, nil
	}
	if ids.UIDs, ids.GIDs, err = owners.IDs(ctx, from); err != nil {
		return ids, err
	}
	return ids, r.uses.WhileUsing(ctx, func() error { return writeIDs(path, ids) })
}

func writeIDs(path string, ids userns.IDs) error {
	text, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	return fsys.Replace(path, text, fsys.ReplaceOptions{MakeDirs: true})
}

// copyKey gives the key of a copy: a digest of the translated IDs; same tells that the mapping changes none of them. An
// ID that isn't mapped is left to CopyShifted, whose error names the file.
func copyKey(ids userns.IDs, m userns.Mapping) (key string, same bool) {
	same = true
	hash := sha256.New()
	add := func(kind string, ids []uint32, of userns.Map) {
		for _, id := range ids {
			to, err := of.ToHost(id)
			fmt.Fprintln(hash, kind, id, to, err == nil)
			same = same && err == nil && to == id
		}
	}
	add("u", ids.UIDs, m.UIDs)
	add("g", ids.GIDs, m.GIDs)
	return hex.EncodeToString(hash.Sum(nil)[:16]), same
}

// mapText is a map as the flags of podman write it: CONTAINER:FROM:LENGTH, the group IDs only if they differ.
func mapText(m userns.Mapping) string {
	text := func(ids userns.Map) string {
		return strings.ReplaceAll(strings.ReplaceAll(ids.String(), " ", ":"), "\n", ",")
	}
	if text(m.UIDs) == text(m.GIDs) {
		return text(m.UIDs)
	}
	return text(m.UIDs) + ";" + text(m.GIDs)
}

// filesOf gives the driver's directory with a layer's files.
func (r *Room) filesOf(id string) (string, error) {
	if r.lib.Layout.Stacks {
		dir, err := r.store.DiffDir(id)
		if err == nil {
			err = library.CheckOwned(dir)
		}
		return dir, err
	}
	// Drivers that don't stack mount nothing: the directory exists also after unmount.
	dir, unmount, err := r.store.MountLayer(id)
	if err != nil {
		return "", err
	}
	return dir, unmount()
}

func (r *Room) makeCopy(ctx context.Context, from, path string, m userns.Mapping) (err error) {
	tmp, remove, err := r.store.Parts().Scratch.Dir(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	made := filepath.Join(tmp, "copy")
	if err := os.Mkdir(made, 0o700); err != nil {
		return err
	}
	if err := owners.Copy(ctx, made, from, ToDisk(m)); err != nil {
		return err
	}
	// The copy must be on disk before it gets its final name, so that after a power failure no incomplete copy has it.
	if err := fsys.SyncFSAt(made); err != nil {
		return err
	}
	return os.Rename(made, path)
}

// Sweep removes the copies and lists of layers that the store hasn't got any more, except those that a running
// build may use.
func (r *Room) Sweep(ctx context.Context) error {
	listed, err := os.ReadDir(filepath.Join(r.store.Paths().Own, ownersDir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}

	errs := []error{err}
	for _, e := range listed {
		if r.layerGone(e.Name()) { // the layer was removed, or isn't committed yet
			errs = append(errs, r.uses.WhileDeciding(ctx,
				func() error { return fsys.RemoveFiles(filepath.Join(r.store.Paths().Own, ownersDir, e.Name())) }))
		}
	}

	keys, err := fsys.Subdirs(filepath.Join(r.store.Paths().Own, shiftedDir))
	errs = append(errs, err)
	for _, key := range keys {
		dir := filepath.Join(r.store.Paths().Own, shiftedDir, key)
		names, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, n := range names {
			if id := strings.TrimSuffix(n.Name(), lockSuffix); r.layerGone(id) {
				errs = append(errs, r.removeCopy(ctx, dir, id, key+"."+id))
			}
		}
	}

	return errors.Join(errs...)
}

// layerGone tells whether the store has lost a layer. It looks first for the layer's directory, which most have, and
// then asks the library, since the layer may be in an additional store.
func (r *Room) layerGone(id string) bool {
	return !r.store.HasFiles(id) && !r.store.HasLayer(id)
}

// removeCopy removes a copy. It renames it first, so that a build finds a whole copy or none.
func (r *Room) removeCopy(ctx context.Context, dir, id, use string) (err error) {
	gone, remove, err := r.store.Parts().Scratch.Dir(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return r.uses.WhileDeciding(ctx, func() error {
		free, err := r.uses.Unused(uses.Thing{Kind: uses.Copies, Name: use})
		if err != nil || !free {
			return err
		}
		path := filepath.Join(dir, id)
		if err := os.Rename(path, filepath.Join(gone, scratch.Gone)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err = errors.Join(fsys.RemoveFiles(path+lockSuffix), r.uses.Forget(uses.Thing{Kind: uses.Copies, Name: use}))
		_ = os.Remove(dir) // succeeds only if dir has no other copies
		return err
	})
}
