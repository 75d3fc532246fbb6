package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/userns"
)

// Shifted copies are in DIR/shifted/MAPPING/LAYER. A file LAYER.same says that the mapping changes no owner in the layer.
const (
	shiftedDir = "shifted"
	sameSuffix = ".same"
	lockSuffix = ".lock"
)

// MappingKey names a mapping.
func MappingKey(m userns.Mapping) string {
	sum := sha256.Sum256([]byte(m.UIDs.String() + "\n\n" + m.GIDs.String()))
	return hex.EncodeToString(sum[:16])
}

// ToDisk translates the IDs of an image to those that a step with the mapping has for them on disk; ToImage translates back.
func ToDisk(m userns.Mapping) layer.IDShift {
	return layer.IDShift{UID: m.UIDs.ToHost, GID: m.GIDs.ToHost}
}

// ToImage is ToDisk the other way round.
func ToImage(m userns.Mapping) layer.IDShift {
	return layer.IDShift{UID: m.UIDs.ToContainer, GID: m.GIDs.ToContainer}
}

// ShiftedDir is the directory of a layer's files with the owners that the mapping gives them: a copy that is made when it is first
// asked for and stays until the layer is gone, or the driver's own directory if no owner differs. In a store that stacks these are the
// files of the layer alone, as DiffDir has them; in another one they are all that a container of the layer sees. The layer must not
// be one that is still being made.
func (s *Store) ShiftedDir(ctx context.Context, id string, m userns.Mapping) (string, error) {
	base := filepath.Join(s.dir, shiftedDir, MappingKey(m))
	path := filepath.Join(base, id)
	name := filepath.Base(base) + "." + id
	if dir, err := s.haveShifted(id, path, name); dir != "" || err != nil {
		return dir, err
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", fmt.Errorf("shift layer %s: %w", id, err)
	}
	lock, err := os.OpenFile(path+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("shift layer %s: %w", id, err)
	}
	defer lock.Close()
	if err := flock(lock, unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock shifted layer %s: %w", id, err)
	}
	if dir, err := s.haveShifted(id, path, name); dir != "" || err != nil {
		return dir, err
	}
	// Whoever removes copies finds the use before there is a copy.
	size := readNote(s.notePath(layerUses, id))
	err = s.whileUsing(func() error {
		return s.noteUse(copyUses, name, func(n *note) { *n = note{Size: size.Size, Measured: size.Measured, Label: mapText(m)} })
	})
	if err == nil {
		err = s.makeShifted(ctx, id, path, m)
	}
	if err != nil {
		return "", fmt.Errorf("shift layer %s for the ID map %q: %w", id, strings.ReplaceAll(m.UIDs.String(), "\n", ", "), err)
	}
	return s.haveShifted(id, path, name)
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

// haveShifted finds what was made before, and keeps it for the build; "" if nothing was.
func (s *Store) haveShifted(id, path, name string) (dir string, err error) {
	err = s.whileUsing(func() error {
		if _, err := os.Lstat(path); err != nil {
			return err
		}
		dir = path
		return s.noteUse(copyUses, name, nil)
	})
	if !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	_, err = os.Lstat(path + sameSuffix)
	if err == nil {
		return s.filesOf(id)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return "", err
}

// filesOf is the driver's directory of a layer.
func (s *Store) filesOf(id string) (string, error) {
	if s.Stacks() {
		dir, err := s.DiffDir(id)
		if err == nil {
			err = checkOwned(dir)
		}
		return dir, err
	}
	// What such drivers mount is a directory that is there without a mount as well.
	dir, unmount, err := s.View(id)
	if err != nil {
		return "", err
	}
	return dir, unmount()
}

func (s *Store) makeShifted(ctx context.Context, id, path string, m userns.Mapping) (err error) {
	from, err := s.filesOf(id)
	if err != nil {
		return err
	}
	shifts, err := layer.Shifts(ctx, from, ToDisk(m))
	if err != nil {
		return err
	}
	if !shifts {
		return os.WriteFile(path+sameSuffix, nil, 0o600)
	}
	tmp, remove, err := s.TempDir(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	made := filepath.Join(tmp, "copy")
	if err := os.Mkdir(made, 0o700); err != nil {
		return err
	}
	if err := layer.CopyShifted(ctx, made, from, ToDisk(m)); err != nil {
		return err
	}
	// What has the final name must be whole after a power failure as well.
	if err := syncFS(made); err != nil {
		return err
	}
	return os.Rename(made, path)
}

func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// removeShifted removes the copies of layers that are gone from the store.
func (s *Store) removeShifted() error {
	base := filepath.Join(s.dir, shiftedDir)
	mappings, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mappings {
		if !m.IsDir() {
			continue // a link leads to nothing of ours
		}
		dir := filepath.Join(base, m.Name())
		names, err := os.ReadDir(dir)
		errs = append(errs, err)
		for _, n := range names {
			id := strings.TrimSuffix(strings.TrimSuffix(n.Name(), sameSuffix), lockSuffix)
			if !s.driver.Exists(id) {
				errs = append(errs, s.removeCopy(filepath.Join(dir, n.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// removeCopy takes the name away first, so that a build finds the whole copy or none.
func (s *Store) removeCopy(path string) error {
	gone, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "")
	if err != nil {
		return err
	}
	err = os.Rename(path, filepath.Join(gone, "copy"))
	if errors.Is(err, fs.ErrNotExist) { // another process was faster
		err = nil
	}
	return errors.Join(err, removeAll(gone))
}
