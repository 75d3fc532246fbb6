package accounts

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
)

// maxFile is the size in bytes of the largest file that is read, maxLine the length in bytes of the longest line. A
// larger file or a longer line is an error.
const (
	maxFile = 10 << 20
	maxLine = 1 << 20
)

// A User is a line of /etc/passwd.
type User struct {
	Name     string
	UID, GID uint32
	// Home is the home directory, as written; it may be empty.
	Home string
}

// A Group is a line of /etc/group.
type Group struct {
	Name    string
	GID     uint32
	Members []string
}

// ParseID reads an ID that a file or process can have: the highest number means "none" to the kernel.
func ParseID(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil && id != 1<<32-1
}

// FindUser gives the first user in /etc/passwd of the directory root that matches; found is false if none does, and for
// a nil root.
func FindUser(root *os.File, matches func(User) bool) (u User, found bool, err error) {
	for fields, err := range lines(root, "etc/passwd") {
		if err != nil {
			return User{}, false, err
		}
		if len(fields) < 4 || fields[0] == "" {
			continue
		}
		uid, uidOK := ParseID(fields[2])
		gid, gidOK := ParseID(fields[3])
		if !uidOK || !gidOK {
			continue
		}
		u := User{Name: fields[0], UID: uid, GID: gid}
		if len(fields) > 5 {
			u.Home = fields[5]
		}
		if matches(u) {
			return u, true, nil
		}
	}
	return User{}, false, nil
}

// FindGroup gives the first group of the name in /etc/group of the directory root; found is false if there is none, and
// for a nil root.
func FindGroup(root *os.File, name string) (g Group, found bool, err error) {
	for g, err := range groups(root) {
		if err != nil || g.Name == name {
			return g, err == nil, err
		}
	}
	return Group{}, false, nil
}

// Memberships are the IDs of the groups that list the user as a member, each once, in the order of the file and no more
// than limit.
func Memberships(root *os.File, user string, limit int) ([]uint32, error) {
	var ids []uint32
	seen := map[uint32]bool{}
	for g, err := range groups(root) {
		if err != nil {
			return nil, err
		}
		for _, member := range g.Members {
			if strings.TrimSpace(member) == user && !seen[g.GID] {
				seen[g.GID], ids = true, append(ids, g.GID)
			}
		}
		if len(ids) >= limit {
			break
		}
	}
	return ids, nil
}

// groups gives the lines of /etc/group that are valid.
func groups(root *os.File) iter.Seq2[Group, error] {
	return func(yield func(Group, error) bool) {
		for fields, err := range lines(root, "etc/group") {
			if err != nil {
				yield(Group{}, err)
				return
			}
			if len(fields) < 3 || fields[0] == "" {
				continue
			}
			gid, ok := ParseID(fields[2])
			if !ok {
				continue
			}
			g := Group{Name: fields[0], GID: gid}
			if len(fields) > 3 && fields[3] != "" {
				g.Members = strings.Split(fields[3], ",")
			}
			if !yield(g, nil) {
				return
			}
		}
	}
}

// lines gives the colon-separated fields of each line of a file.
func lines(root *os.File, name string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		f, err := open(root, name)
		if err != nil {
			yield(nil, fmt.Errorf("read the image's /%s: %w", name, err))
			return
		}
		if f == nil {
			return
		}
		defer f.Close()

		bounded := &io.LimitedReader{R: f, N: maxFile + 1}
		scanner := bufio.NewScanner(bounded)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			line := strings.TrimSpace(scanner.Text())
			if line == "" || line[0] == '#' {
				continue
			}
			if !yield(strings.Split(line, ":"), nil) {
				return
			}
		}

		if err = scanner.Err(); err == nil && bounded.N == 0 {
			err = fmt.Errorf("larger than %d MiB", maxFile>>20)
		}
		if err != nil {
			yield(nil, fmt.Errorf("read the image's /%s: %w", name, err))
		}
	}
}
