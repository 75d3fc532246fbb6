package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// builds is the kind of notes about what the last builds of projects did. They are few, and stay when disk space is
// given back: they are what tells that a result was removed.
const builds = "builds"

// maxBuilds is how many projects the cache has notes of in each of its 256 directories; the oldest are dropped.
const maxBuilds = 8

// ProjectKey names the notes of a project: a directory, and what else tells its builds apart.
func ProjectKey(dir, rest string) Key { return Key(projectHash(dir) + projectHash(rest)) }

func projectHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:len(sum)/2])
}

// earlierSuffix is that of the file with what only builds before the last did.
const earlierSuffix = ".earlier"

// PutBuild keeps what the last build of a project did; earlier is what only builds before it did, nil: that stays.
func (c *Cache) PutBuild(project Key, last, earlier []byte) error {
	path := c.path(builds, project)
	if earlier != nil {
		if err := writeFile(path+earlierSuffix, earlier); err != nil {
			return err
		}
	}
	_, err := os.Lstat(path)
	if err := writeFile(path, last); err != nil {
		return err
	}
	if err != nil { // it is a new one
		dropOldest(filepath.Dir(path))
	}
	return nil
}

// dropOldest keeps a directory from having notes of too many projects. What it can't remove stays.
func dropOldest(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for len(entries) > 2*maxBuilds {
		oldest, at := time.Now(), -1
		for i, e := range entries {
			if info, err := e.Info(); err == nil && info.ModTime().Before(oldest) {
				oldest, at = info.ModTime(), i
			}
		}
		if at < 0 || os.Remove(filepath.Join(dir, entries[at].Name())) != nil {
			return
		}
		entries = append(entries[:at], entries[at+1:]...)
	}
}

// Build gives what PutBuild has kept of a project; nil if there is nothing.
func (c *Cache) Build(project Key) (last, earlier []byte) {
	path := c.path(builds, project)
	last, _ = os.ReadFile(path)
	earlier, _ = os.ReadFile(path + earlierSuffix)
	return last, earlier
}

// BuildsOf lists the projects of a directory.
func (c *Cache) BuildsOf(dir string) (all []Key) {
	prefix := projectHash(dir)
	entries, err := os.ReadDir(filepath.Join(c.dir, builds, prefix[:2]))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(prefix[:2]+name, prefix) && !strings.HasSuffix(name, earlierSuffix) {
			all = append(all, Key(prefix[:2]+name))
		}
	}
	return all
}
