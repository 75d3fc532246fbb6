package leak

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Bounds of a search. What is beyond them isn't looked at.
const (
	mostBytes = 64 << 20 // of all files together
	mostFiles = 20_000
	shortest  = 8 // bytes; shorter texts are found everywhere
	piece     = 1 << 16
)

// A Find is a file that has the content of a secret.
type Find struct{ Path, Secret string } // Path is below the root, Secret an ID

// Search looks for secrets, by ID, in the regular files below dir. Blanks around a secret don't count. It follows no
// link. Of each secret it gives the first file.
func Search(dir *os.File, secrets map[string][]byte) ([]Find, error) {
	wanted, longest := map[string][]byte{}, 0
	for id, text := range secrets {
		if text = bytes.TrimSpace(text); len(text) >= shortest {
			wanted[id], longest = text, max(longest, len(text))
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	s := search{root: root, wanted: wanted, longest: longest, left: mostBytes}
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case len(s.wanted) == 0 || s.left <= 0 || s.files > mostFiles:
			return fs.SkipAll
		case entry.Type().IsRegular():
			s.files++
			return s.look(path)
		}
		return nil
	})
	return s.found, err
}

type search struct {
	root    *os.Root
	wanted  map[string][]byte // what hasn't been found
	longest int               // bytes of the longest secret
	left    int64             // bytes that may still be read
	files   int
	found   []Find
}

// look reads a file piece by piece, each with the end of the one before, in which a secret may begin.
func (s *search) look(path string) error {
	f, err := s.root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buf, kept := make([]byte, s.longest+piece), 0
	for s.left > 0 && len(s.wanted) > 0 {
		n, err := f.Read(buf[kept:])
		s.left -= int64(n)
		have := buf[:kept+n]
		for _, id := range slices.Sorted(maps.Keys(s.wanted)) {
			if bytes.Contains(have, s.wanted[id]) {
				s.found = append(s.found, Find{Path: path, Secret: id})
				delete(s.wanted, id)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		kept = copy(buf, have[max(0, len(have)-s.longest+1):])
	}
	return nil
}
