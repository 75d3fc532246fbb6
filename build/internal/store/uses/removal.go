package uses

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cooperbuild/cooper/internal/flock"
)

// removalLock is held by the one process that removes.
const removalLock = "removal.lock"

// ErrBusy means that another process is removing.
var ErrBusy = errors.New("another process is giving back disk space")

// LockRemoval makes this process the only one that removes. If another process is removing, it waits for that or,
// without wait, gives ErrBusy.
func (l *Ledger) LockRemoval(ctx context.Context, wait bool) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(l.dir, removalLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock removal: %w", err)
	}
	free, err := flock.Try(f, flock.Exclusive)
	switch {
	case err == nil && !free && wait:
		err = flock.Lock(ctx, f, flock.Exclusive)
	case err == nil && !free:
		err = ErrBusy
	}
	if err == nil {
		// Marks that are left are those of a process that was killed.
		err = os.RemoveAll(filepath.Join(l.dir, notesDir, string(goneMarks)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock removal: %w", err), f.Close())
	}
	return f.Close, nil
}

// Goes tells whether a layer is marked as being removed.
func (l *Ledger) Goes(layer string) bool {
	_, err := os.Lstat(l.path(Thing{goneMarks, layer}))
	return err == nil
}

// Condemn marks layers as being removed: from now on no build takes them. The caller holds the lock of LockRemoval and
// calls it inside WhileDeciding.
func (l *Ledger) Condemn(layers []string) error {
	if err := os.MkdirAll(filepath.Join(l.dir, notesDir, string(goneMarks)), 0o700); err != nil {
		return err
	}
	for _, id := range layers {
		if err := os.WriteFile(l.path(Thing{goneMarks, id}), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Absolve removes a layer's mark, after the layer was removed or if it stays.
func (l *Ledger) Absolve(layer string) error { return l.Forget(Thing{goneMarks, layer}) }

// AwaitRemoval waits while a layer of that ID is being removed: meanwhile it must not be used, and can't be made again.
func (l *Ledger) AwaitRemoval(ctx context.Context, layer string) error {
	const pause = 10 * time.Millisecond
	for l.Goes(layer) {
		// If the lock is free, the process that marked the layer was killed, and taking the lock removes its marks.
		unlock, err := l.LockRemoval(ctx, false)
		if err == nil {
			err = unlock()
		}
		if errors.Is(err, ErrBusy) {
			err = sleep(ctx, pause)
		}
		if err != nil {
			return fmt.Errorf("wait for the removal of layer %s: %w", layer, err)
		}
	}
	return nil
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
