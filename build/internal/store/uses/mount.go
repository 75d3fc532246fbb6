package uses

import (
	"context"
	"os"
	"path/filepath"
)

// A cache mount is the directory mounts/KEY/NUMBER. Beside it are NUMBER.lock, which its users lock, and NUMBER.made,
// which says that it was filled.
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
			func(n *Entry) { n.Label, n.Changing = label, true })
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
