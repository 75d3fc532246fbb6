package uses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cooperbuild/cooper/userns"
)

// A cache mount is the directory mounts/KEY/NUMBER. Beside it are NUMBER.lock, which its users lock, and NUMBER.made,
// which says that it was filled, and what it is elsewhere (see [Made]).
const (
	LockSuffix = ".lock"
	MadeSuffix = ".made"
)

// OpenMount makes the directory of a cache mount, unless it exists, and opens the file beside it that its users lock.
// label says for people what it is for. The caller closes the file.
func (l *Ledger) OpenMount(ctx context.Context, key, number, label string) (dir string, lock *os.File, err error) {
	dir = filepath.Join(l.dir, string(Mounts), key, number)
	err = l.WhileUsing(ctx, func() error {
		err := l.Note(Thing{Kind: Mounts, Name: key + "." + number},
			func(n *Entry) {
				n.Label, n.Changing = label, true
				n.of(ctx)
			})
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err == nil {
			lock, err = os.OpenFile(dir+LockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
		}
		return err
	})
	return dir, lock, err
}

// Made says what a cache mount is on other machines.
type Made struct {
	// Key is what it is known by there; empty: a version of cooper that knew none has filled it.
	Key string `json:"key"`
	// Mapping is that of the steps whose host IDs its files have; nil: they have the image's.
	Mapping *userns.Mapping `json:"mapping,omitempty"`
}

// WriteMade says that the directory of a cache mount was filled.
func WriteMade(dir string, m Made) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(dir+MadeSuffix, text, 0o600)
}

// ReadMade tells whether the directory of a cache mount was filled, and what it is.
func ReadMade(dir string) (m Made, filled bool, err error) {
	text, err := os.ReadFile(dir + MadeSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil && len(text) > 0 {
		if err = json.Unmarshal(text, &m); err != nil {
			err = fmt.Errorf("%s: %w", dir+MadeSuffix, err)
		}
	}
	return m, true, err
}
