package cache

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An Eviction says that a record or a layer was removed to give disk space back.
type Eviction struct {
	// ID is that of the layer or, for a record, that of its item.
	ID   string    `json:"id"`
	When time.Time `json:"when"`
	// By says what removed it, as in "cooper prune".
	By string `json:"by"`
}

// maxEvictions is how long the list of evictions may grow, in bytes, before its older half is dropped.
const maxEvictions = 1 << 20

func (c *Cache) evictions() string { return filepath.Join(c.dir, "evictions") }

// NoteEvictions keeps which records and layers were removed at this moment, and by what. Who calls it has the lock of
// those who remove.
func (c *Cache) NoteEvictions(ids []string, by string) error {
	if len(ids) == 0 {
		return nil
	}
	var text bytes.Buffer
	out, now := json.NewEncoder(&text), time.Now().UTC()
	for _, id := range ids {
		if err := out.Encode(Eviction{ID: id, When: now, By: by}); err != nil {
			return fmt.Errorf("note evictions: %w", err)
		}
	}
	if old, err := os.ReadFile(c.evictions()); err == nil && len(old)+text.Len() > maxEvictions {
		half := old[max(len(old)-maxEvictions/2, 0):]
		_, half, _ = bytes.Cut(half, []byte("\n"))
		return writeFile(c.evictions(), append(half, text.Bytes()...))
	}
	f, err := os.OpenFile(c.evictions(), os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("note evictions: %w", err)
	}
	_, err = f.Write(text.Bytes())
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("note evictions: %w", err)
	}
	return nil
}

// IsRecord tells whether an item of DiskItems is the record of a step.
func IsRecord(id string) bool { return strings.HasPrefix(id, steps+"/") }

// Evicted gives the last eviction of a layer, or of the record under a key; nil if none is known.
func (c *Cache) Evicted(layer string, k Key) (last *Eviction) {
	f, err := os.Open(c.evictions())
	if err != nil {
		return nil
	}
	defer f.Close()
	record := ""
	if k != "" {
		record = filepath.Join(steps, string(k[:2]), string(k[2:]))
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e Eviction
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.ID != "" && (e.ID == layer || e.ID == record) {
			last = &e
		}
	}
	return last
}
