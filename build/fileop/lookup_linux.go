package fileop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/source"
)

const (
	// maxUserFile bounds /etc/passwd and /etc/group, in bytes, and maxUserLine one of their lines.
	maxUserFile = 10 << 20
	maxUserLine = 1 << 20
)

// passwdEntry is a line of /etc/passwd.
type passwdEntry struct {
	name     string
	uid, gid uint32
	home     string
}

// groupEntry is a line of /etc/group.
type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// LookupOwner reads "user[:group]" as --chown means it, by name or number; root, which may be nil, is the image's root
// directory and is only looked into for names. Without a group it is, as with docker, the user's own for a name, and the
// same number for a number; root is 0. A name that isn't there is ErrNoSuchUser.
func LookupOwner(root *os.File, spec string) (Owner, error) {
	fail := func(err error) (Owner, error) { return Owner{}, fmt.Errorf("look up owner %q: %w", spec, err) }
	user, group, hasGroup := strings.Cut(spec, ":")
	var o Owner
	if id, ok := parseID(user); ok {
		o = Owner{UID: id, GID: id}
	} else if user == "root" {
		o = Owner{} // without a look, in an image without users too
	} else if user != "" {
		entry, err := findUser(root, func(e passwdEntry) bool { return e.name == user })
		if err != nil {
			return fail(userError(err, user))
		}
		o = Owner{UID: entry.uid, GID: entry.gid}
	} else if !hasGroup {
		return fail(errors.New("empty"))
	}
	if !hasGroup || group == "" {
		return o, nil
	}
	gid, err := groupID(root, group)
	if err != nil {
		return fail(err)
	}
	o.GID = gid
	return o, nil
}

// LookupUser reads "user[:group]" as USER means it, by name or number, looked up in root, which may be nil. An empty spec
// is root. A number that isn't in /etc/passwd has the group 0 and the home directory "/". A name that isn't there is
// ErrNoSuchUser.
func LookupUser(root *os.File, spec string) (User, error) {
	fail := func(err error) (User, error) { return User{}, fmt.Errorf("look up user %q: %w", spec, err) }
	user, group, _ := strings.Cut(spec, ":")
	if user == "" {
		user = "0"
	}
	id, numeric := parseID(user)
	entry, err := findUser(root, func(e passwdEntry) bool { return e.name == user || numeric && e.uid == id })
	u := User{Name: entry.name, UID: entry.uid, GID: entry.gid, Home: entry.home}
	switch {
	case errors.Is(err, ErrNoSuchUser) && numeric:
		u = User{UID: id}
	case errors.Is(err, ErrNoSuchUser) && user == "root":
		u = User{Name: "root", Home: "/root"}
	case err != nil:
		return fail(userError(err, user))
	}
	if u.Home == "" {
		u.Home = "/"
	}
	if group != "" {
		if u.GID, err = groupID(root, group); err != nil {
			return fail(err)
		}
		return u, nil
	}
	if u.Name != "" {
		if u.Groups, err = supplementary(root, u.Name); err != nil {
			return fail(err)
		}
	}
	return u, nil
}

// userError says which name it was.
func userError(err error, name string) error {
	if errors.Is(err, ErrNoSuchUser) {
		return fmt.Errorf("%w: %q is not in /etc/passwd", ErrNoSuchUser, name)
	}
	return err
}

// parseID reads a numeric ID; what is out of range isn't one.
func parseID(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	// The last value means "no change" to chown.
	return uint32(id), err == nil && id < 1<<32-1
}

// groupID is a group by name or number.
func groupID(root *os.File, group string) (uint32, error) {
	if id, ok := parseID(group); ok {
		return id, nil
	}
	var found *groupEntry
	err := readGroups(root, func(e groupEntry) bool {
		if e.name == group {
			found = &e
		}
		return found == nil
	})
	switch {
	case err != nil:
		return 0, err
	case found != nil:
		return found.gid, nil
	case group == "root":
		return 0, nil
	default:
		return 0, fmt.Errorf("%w: %q is not in /etc/group", ErrNoSuchUser, group)
	}
}

// supplementary are the groups that list a user as a member.
func supplementary(root *os.File, name string) ([]uint32, error) {
	var ids []uint32
	err := readGroups(root, func(e groupEntry) bool {
		if slices.Contains(e.members, name) {
			ids = append(ids, e.gid)
		}
		return true
	})
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// findUser finds the first line that matches. ErrNoSuchUser also stands for a missing file.
func findUser(root *os.File, matches func(passwdEntry) bool) (passwdEntry, error) {
	var found *passwdEntry
	err := readLines(root, "/etc/passwd", func(fields []string) bool {
		if len(fields) < 4 {
			return true
		}
		uid, okUID := parseID(fields[2])
		gid, okGID := parseID(fields[3])
		e := passwdEntry{name: fields[0], uid: uid, gid: gid}
		if len(fields) > 5 {
			e.home = fields[5]
		}
		if okUID && okGID && e.name != "" && matches(e) {
			found = &e
		}
		return found == nil
	})
	switch {
	case err != nil:
		return passwdEntry{}, err
	case found != nil:
		return *found, nil
	default:
		return passwdEntry{}, ErrNoSuchUser
	}
}

// readGroups gives every valid line of /etc/group until yield says false.
func readGroups(root *os.File, yield func(groupEntry) bool) error {
	return readLines(root, "/etc/group", func(fields []string) bool {
		if len(fields) < 3 {
			return true
		}
		gid, ok := parseID(fields[2])
		if !ok || fields[0] == "" {
			return true
		}
		e := groupEntry{name: fields[0], gid: gid}
		if len(fields) > 3 && fields[3] != "" {
			e.members = strings.Split(fields[3], ",")
		}
		return yield(e)
	})
}

// readLines gives the colon-separated fields of each line of a file of the image until yield says false. A file that isn't
// there has no lines; one that is too large, or isn't a regular file, is an error.
func readLines(root *os.File, name string, yield func([]string) bool) error {
	if root == nil {
		return nil
	}
	f, err := source.OpenIn(root, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	bounded := &io.LimitedReader{R: f, N: maxUserFile + 1}
	lines := bufio.NewScanner(bounded)
	lines.Buffer(nil, maxUserLine)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if !yield(strings.Split(line, ":")) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if bounded.N == 0 {
		return fmt.Errorf("read %s: larger than %d bytes", name, maxUserFile)
	}
	return nil
}
