package step

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/userns/accounts"
)

// maxGroups is how many supplementary groups a process can have.
const maxGroups = 65536

// User is the user that a step runs as, in container IDs.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups; GID is one of them
	Home     string   // home directory, absolute
}

// LookupUser resolves spec in the /etc/passwd and /etc/group of the directory root, as container runtimes do: the user
// (and group, after a colon) by name or number. A number need not be listed. Without a group the user's primary group
// is used (0 if it is not listed) and the groups that list the user as a member are supplementary; with one no others
// are. The group itself is always supplementary, too: a set-group-ID program would lose it otherwise, and with it what
// that group is denied. Home is "/" when the user is not listed. Errors wrap ErrUnknownUser and ErrUnknownGroup.
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
		user.Groups, err = accounts.Memberships(root, name, maxGroups-1)
	}
	if err != nil {
		return User{}, err
	}
	if !slices.Contains(user.Groups, user.GID) {
		user.Groups = append([]uint32{user.GID}, user.Groups...)
	}
	return user, nil
}

// fromPasswd sets the fields that the root's /etc/passwd has for the user, and returns the name, "" if it isn't listed.
func (u *User) fromPasswd(root *os.File, spec string) (name string, err error) {
	number, numeric := accounts.ParseID(spec)
	found, ok, err := accounts.FindUser(root, func(l accounts.User) bool {
		return l.Name == spec || numeric &&
			l.UID == number
	})
	switch {
	case err != nil:
		return "", err
	case ok:
		u.UID, u.GID = found.UID, found.GID
		if strings.HasPrefix(found.Home, "/") {
			u.Home = found.Home
		}
		return found.Name, nil
	case !numeric:
		return "", fmt.Errorf("user %q: %w", spec, ErrUnknownUser)
	}
	u.UID = number
	return "", nil
}

// AddGroups adds supplementary groups, by name or number.
func (u *User) AddGroups(root *os.File, names []string) error {
	for _, name := range names {
		gid, err := findGroup(root, name)
		if err != nil {
			return err
		}
		if !slices.Contains(u.Groups, gid) {
			u.Groups = append(u.Groups, gid)
		}
	}
	return nil
}

func findGroup(root *os.File, spec string) (uint32, error) {
	if gid, numeric := accounts.ParseID(spec); numeric {
		return gid, nil
	}
	g, found, err := accounts.FindGroup(root, spec)
	if err == nil && !found {
		err = fmt.Errorf("group %q: %w", spec, ErrUnknownGroup)
	}
	return g.GID, err
}
