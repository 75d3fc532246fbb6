package executor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/userns"
)

// maxDatabase is how much of an image's /etc/passwd or /etc/group is read, in bytes. More is refused: the file is hostile.
const maxDatabase = 4 << 20

// maxGroups is how many supplementary groups a process can have.
const maxGroups = 65536

// User is who a step runs as, in container IDs.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string
}

// LookupUser resolves spec in the /etc/passwd and /etc/group of the directory root, as container runtimes do: the user (and
// group, after a colon) by name or number. A number need not be listed. Without a group the user's primary group is used (0 if
// it is not listed) and the groups that list the user as a member are supplementary; with one there are none. Home is "/" when the
// user is not listed. Errors wrap ErrUnknownUser and ErrUnknownGroup.
func LookupUser(root *os.File, spec string) (User, error) {
	userSpec, groupSpec, _ := strings.Cut(spec, ":")
	if userSpec == "" {
		userSpec = "0"
	}
	user := User{Home: "/"}
	name, err := user.fromPasswd(root, userSpec)
	if err != nil {
		return User{}, err
	}
	switch {
	case groupSpec != "":
		user.GID, err = findGroup(root, groupSpec)
	case name != "":
		user.Groups, err = memberships(root, name)
	}
	if err != nil {
		return User{}, err
	}
	return user, nil
}

// fromPasswd fills in what the root knows of the user, and returns the name, "" if not listed.
func (u *User) fromPasswd(root *os.File, spec string) (name string, err error) {
	number, numeric := parseID(spec)
	err = eachLine(root, "etc/passwd", func(f []string) bool {
		if len(f) < 6 {
			return true
		}
		uid, uidOK := parseID(f[2])
		gid, gidOK := parseID(f[3])
		if !uidOK || !gidOK || f[0] != spec && (!numeric || uid != number) {
			return true
		}
		name, u.UID, u.GID = f[0], uid, gid
		if strings.HasPrefix(f[5], "/") {
			u.Home = f[5]
		}
		return false
	})
	if err != nil {
		return "", err
	}
	if name == "" && !numeric {
		return "", fmt.Errorf("user %q: %w", spec, ErrUnknownUser)
	}
	if name == "" {
		u.UID = number
	}
	return name, nil
}

// HighestID gives the highest user or group ID, up to limit, in /etc/passwd and /etc/group of the directory root: see
// [userns.HighestID]. What isn't a regular file inside the root, or isn't there, counts as empty.
func HighestID(root *os.File, limit uint32) (uint32, error) {
	var files [2]io.Reader
	for i, name := range []string{"etc/passwd", "etc/group"} {
		file, err := openDatabase(root, name)
		if err != nil { // whatever an image has there can only make the range shorter
			continue
		}
		defer file.Close()
		files[i] = file
	}
	return userns.HighestID(files[0], files[1], limit)
}

func findGroup(root *os.File, spec string) (uint32, error) {
	if gid, numeric := parseID(spec); numeric {
		return gid, nil
	}
	var gid uint32
	found := false
	err := eachLine(root, "etc/group", func(f []string) bool {
		if len(f) < 3 || f[0] != spec {
			return true
		}
		gid, found = parseID(f[2])
		return !found
	})
	if err == nil && !found {
		err = fmt.Errorf("group %q: %w", spec, ErrUnknownGroup)
	}
	return gid, err
}

// memberships gives the groups that list name as a member, in the order of the file.
func memberships(root *os.File, name string) ([]uint32, error) {
	var gids []uint32
	seen := map[uint32]bool{}
	err := eachLine(root, "etc/group", func(f []string) bool {
		if len(f) < 4 {
			return true
		}
		gid, ok := parseID(f[2])
		if !ok || seen[gid] {
			return true
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if strings.TrimSpace(member) == name {
				seen[gid] = true
				gids = append(gids, gid)
				break
			}
		}
		return len(gids) < maxGroups
	})
	return gids, err
}

// eachLine calls f with the fields of each line of a colon-separated file in the root until it returns false. A missing file is an
// empty one.
func eachLine(root *os.File, name string, f func(fields []string) bool) error {
	file, err := openDatabase(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	limited := &io.LimitedReader{R: file, N: maxDatabase + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxDatabase+1)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if !f(strings.Split(line, ":")) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the image's /%s: %w", name, err)
	}
	if limited.N == 0 {
		return fmt.Errorf("read the image's /%s: larger than %d MiB", name, maxDatabase>>20)
	}
	return nil
}

// parseID reads an ID that a process can have: the highest number means "none" to the kernel.
func parseID(s string) (uint32, bool) {
	id, err := strconv.ParseUint(s, 10, 32)
	return uint32(id), err == nil && id != 1<<32-1
}
