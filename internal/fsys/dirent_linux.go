package fsys

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Dirent is one name of a directory. Type is the kind of file (unix.DT_REG and so on); unix.DT_UNKNOWN where the file
// system doesn't tell.
type Dirent struct {
	Name string
	Type uint8
	Ino  uint64 // the inode; of a mount point the one that is mounted over
}

// Layout of struct linux_dirent64: inode, offset, record length, type, name.
const (
	direntLength = 16
	direntType   = 18
	direntName   = 19
	// direntTypical is the size in bytes of a record with a name of usual length.
	direntTypical = 32
)

// DirentBuffer is the size in bytes of the memory that a listing goes through.
const DirentBuffer = 32 << 10

// Getdents appends to out the next names of an open directory, without "." and "..", in no order; more is false at its
// end. buf is scratch memory. The names of one call share one allocation.
func Getdents(fd int, buf []byte, out []Dirent) (_ []Dirent, more bool, err error) {
	n, err := Retry(func() (int, error) { return unix.Getdents(fd, buf) })
	if err != nil || n == 0 {
		return out, false, err
	}
	if out == nil {
		out = make([]Dirent, 0, n/direntTypical)
	}
	return parseDirents(buf[:n], out), true, nil
}

// parseDirents reads records as getdents64 filled them in. What is no whole record ends it: a FUSE server writes them.
func parseDirents(buf []byte, out []Dirent) []Dirent {
	text := string(buf)
	for at := 0; len(buf)-at > direntName; {
		size := int(binary.NativeEndian.Uint16(buf[at+direntLength:]))
		if size < direntName || size > len(buf)-at {
			return out
		}
		name := text[at+direntName : at+size]
		if end := strings.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		ino := binary.NativeEndian.Uint64(buf[at:])
		if ino != 0 && name != "" && name != "." && name != ".." {
			out = append(out, Dirent{name, buf[at+direntType], ino})
		}
		at += size
	}
	return out
}

// Dirents are all names of an open directory, from its current position on, in no order. buf is scratch memory of
// DirentBuffer bytes or more.
func Dirents(fd int, buf []byte) (all []Dirent, err error) {
	for more := true; more && err == nil; {
		all, more, err = Getdents(fd, buf, all)
	}
	return all, err
}

// FillType looks the kind up in the directory that the name was listed in, where the file system didn't tell it. gone
// says that the name isn't there any more.
func (d *Dirent) FillType(dir int) (gone bool, err error) {
	if d.Type != unix.DT_UNKNOWN {
		return false, nil
	}
	st, err := LstatAt(dir, d.Name)
	if errors.Is(err, unix.ENOENT) {
		return true, nil
	}
	// The kinds of directory entries are those of modes, shifted.
	d.Type = uint8(st.Mode & unix.S_IFMT >> 12)
	return false, err
}
