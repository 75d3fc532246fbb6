package fileop

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cooperbuild/cooper/userns/accounts"
)

// OwnerError says that this process's user namespace has no place for an owner.
type OwnerError struct {
	Owner
	err error
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("set owner %d:%d: the ID isn't mapped in this user namespace: %v", e.UID, e.GID, e.err)
}

func (e *OwnerError) Unwrap() error { return e.err }

// LookupOwner reads "user[:group]" as --chown means it, by name or number; root, which may be nil, is the image's root
// directory and is only looked into for names. Without a group it is, as with docker, the user's own for a name, and
// the same number for a number; root is 0. A name that isn't there is ErrNoSuchUser.
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
	if user == "root" { // without a look, in an image without users too
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
