package fileop

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cooperbuild/cooper/userns/accounts"
)

// OwnerError says that an owner isn't mapped in this process's user namespace.
type OwnerError struct {
	Owner
	err error
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("set owner %d:%d: the ID isn't mapped in this user namespace: %v", e.UID, e.GID, e.err)
}

func (e *OwnerError) Unwrap() error { return e.err }

// LookupOwner gives the owner that "user[:group]" of --chown means, by name or number. root is the image's root
// directory, in which names are looked up; it may be nil. Without a group it is, as in docker, the user's own group for
// a name and the same number for a number. The user "root" is 0. ErrNoSuchUser means that a name doesn't exist.
func LookupOwner(root *os.File, spec string) (Owner, error) {
	o, err := lookupOwner(root, spec)
	if err != nil {
		return Owner{}, fmt.Errorf("look up owner %q: %w", spec, err)
	}
	return o, nil
}

func lookupOwner(root *os.File, spec string) (o Owner, err error) {
	user, group, hasGroup := strings.Cut(spec, ":")
	switch {
	case user != "":
		if o, err = userOwner(root, user); err != nil {
			return o, err
		}
	case !hasGroup:
		return o, errors.New("empty")
	}
	if group != "" {
		o.GID, err = groupID(root, group)
	}
	return o, err
}

func userOwner(root *os.File, user string) (Owner, error) {
	if id, ok := accounts.ParseID(user); ok {
		return Owner{UID: id, GID: id}, nil
	}
	if user == "root" { // not looked up, so that it works in an image without /etc/passwd
		return Owner{}, nil
	}
	u, found, err := accounts.FindUser(root, func(u accounts.User) bool { return u.Name == user })
	if err == nil && !found {
		err = fmt.Errorf("%w: %q is not in /etc/passwd", ErrNoSuchUser, user)
	}
	return Owner{UID: u.UID, GID: u.GID}, err
}

// groupID is a group by name or number.
func groupID(root *os.File, group string) (uint32, error) {
	if id, ok := accounts.ParseID(group); ok {
		return id, nil
	}
	g, found, err := accounts.FindGroup(root, group)
	if err == nil && !found && group != "root" {
		err = fmt.Errorf("%w: %q is not in /etc/group", ErrNoSuchUser, group)
	}
	return g.GID, err
}
