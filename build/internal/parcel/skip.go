package parcel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Left says what was left out of a parcel: how many files for each reason, and the first of their names.
type Left struct {
	// Special are sockets and devices, Reserved names by which layers hide files, Secret files with a secret in them.
	Special, Reserved, Secret int
	names                     []string
}

// maxNames is how many names are told.
const maxNames = 3

func (l *Left) add(count *int, name string) {
	*count++
	if len(l.names) < maxNames {
		l.names = append(l.names, name)
	}
}

// String says it in a sentence; empty: nothing was left out. Names are as they are on disk.
func (l *Left) String() string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{l.Special, "sockets or devices"}, {l.Reserved, "names that begin with .wh."},
		{l.Secret, "files with a secret in them"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("left out: %s, such as %q", strings.Join(parts, ", "), l.names)
}

// skipper says what is left out.
type skipper struct {
	root    *os.Root
	secrets [][]byte
	left    *Left
}

// skips is that of package layer's options.
func (s skipper) skips(name string, mode uint32) (bool, error) {
	switch mode & unix.S_IFMT {
	case unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		s.left.add(&s.left.Special, name)
		return true, nil
	}
	if strings.HasPrefix(path.Base(name), ".wh.") {
		s.left.add(&s.left.Reserved, name)
		return true, nil
	}
	if mode&unix.S_IFMT != unix.S_IFREG || len(s.secrets) == 0 {
		return false, nil
	}
	f, err := s.root.Open(name)
	if err != nil {
		return false, err
	}
	has, err := s.holds(f)
	if has {
		s.left.add(&s.left.Secret, name)
	}
	return has, errors.Join(err, f.Close())
}

// leastSecret is how many bytes a secret has at least: a shorter one is in every file.
const leastSecret = 6

// holds tells whether a file has a secret in it.
func (s skipper) holds(f io.Reader) (bool, error) {
	longest := 0
	for _, secret := range s.secrets {
		longest = max(longest, len(secret))
	}
	buf, kept := make([]byte, longest+1<<20), 0
	for {
		n, err := io.ReadFull(f, buf[kept:])
		data := buf[:kept+n]
		for _, secret := range s.secrets {
			if len(secret) >= leastSecret && bytes.Contains(data, secret) {
				return true, nil
			}
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		// A secret may begin in what came and end in what comes.
		kept = copy(buf, data[max(0, len(data)-longest):])
	}
}
