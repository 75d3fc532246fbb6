package top

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Step is a running RUN step.
type Step struct {
	Build       string   `json:"build"` // short random ID
	Tags        []string `json:"tags"`  // as the user gave them, and as full names
	Number      string   `json:"step"`  // "2/5" or "builder 2/5"
	Instruction string   `json:"instruction"`
	User        string   `json:"user"` // as in the image config; "" is root
	PID         int      `json:"pid"`  // its first process, as the process that noted it numbers it
	// Below says that PID is not of the step but of the OCI runtime, whose pid namespace has the step's own below it.
	Below bool `json:"below,omitempty"`
	// Started orders the steps.
	Started time.Time `json:"started"`
}

const (
	noteSuffix = ".step"
	// maxNote bounds what is read of a note, in bytes.
	maxNote = 1 << 20
	// staleAfter is how old a note must be that was never finished.
	staleAfter = time.Minute
)

// NewBuildID gives a random ID for a build: 12 hexadecimal digits.
func NewBuildID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// Register is the directory of a user's notes.
type Register struct{ dir string }

// OpenRegister makes the directory if need be, and removes what killed builds have left in it. As with
// [List] it must belong to the caller.
func OpenRegister(dir string) (Register, error) {
	n := Register{dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return n, fmt.Errorf("make directory for running steps: %w", err)
	}
	_, err := List(dir)
	return n, err
}

// Add notes a step. The caller calls remove when the step has ended.
func (n Register) Add(s Step) (remove func() error, err error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("note running step: %w", err)
	}
	f, err := os.CreateTemp(n.dir, fsys.TempPrefix)
	if err != nil {
		return nil, fmt.Errorf("note running step: %w", err)
	}
	name := filepath.Join(n.dir, fmt.Sprintf("%s-%d%s", s.Build, s.PID, noteSuffix))
	// Locked before it has its name: a note without a lock is stale.
	if _, err = flock.Try(f, flock.Exclusive); err == nil {
		if _, err = f.Write(text); err == nil {
			err = os.Rename(f.Name(), name)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("note running step: %w", err), os.Remove(f.Name()), f.Close())
	}
	return func() error { return errors.Join(os.Remove(name), f.Close()) }, nil
}

// List gives the steps that run, oldest first, and removes stale notes. A directory that isn't there has none; one that
// belongs to somebody else is an error.
func List(dir string) ([]Step, error) {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) == nil && (st.Mode&unix.S_IFMT != unix.S_IFDIR || !fsys.Mine(&st)) {
		return nil, fmt.Errorf("list running steps: %s is not a directory of this user's", dir)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list running steps: %w", err)
	}
	var steps []Step
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), fsys.TempPrefix) {
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleAfter {
				_ = os.Remove(path) // another may be faster
			}
			continue
		}
		if !strings.HasSuffix(e.Name(), noteSuffix) {
			continue
		}
		if s, ok := read(path); ok {
			steps = append(steps, s)
		}
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return a.Started.Compare(b.Started) })
	return steps, nil
}

// read reads a note; ok is false for one that is stale, or gone.
func read(path string) (s Step, ok bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return s, false
	}
	defer f.Close()
	if free, err := flock.Try(f, flock.Shared); err == nil && free {
		_ = os.Remove(path) // another may be faster
		return s, false
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return s, false
	}
	return s, s.PID > 0
}

// Match reports whether a build is meant by a name: its ID or the beginning of it, or one of its tags.
func (s Step) Match(name string) bool {
	const shortest = 3
	return len(name) >= shortest && strings.HasPrefix(s.Build, name) || slices.Contains(s.Tags, name)
}
