package reexec

import (
	"fmt"
	"os/user"
	"regexp"
	"strings"
)

// stranger gives the error for a helper that refused because the caller doesn't match the account of its user ID:
// another name or group. It gives nil if the helper said something else.
func (h helper) stranger(m machine, o Options, cause *helperError) error {
	if strings.Contains(cause.said, "Cannot determine your user name") {
		return m.problem(cause, fmt.Sprintf("user ID %d has no entry in /etc/passwd, and %s serves only users with one",
			o.UID, h.program),
			fmt.Sprintf("run as a user that /etc/passwd has, or add this one as root: useradd -u %d -M NAME (in an image: RUN useradd -u %[1]d -M NAME)", o.UID))
	}
	if !strings.Contains(cause.said, "owned by a different user") {
		return nil
	}
	// newuidmap.c of shadow prints the group ID of the process (gid) and that of the user's account (pw_gid).
	if ids := regexp.MustCompile(`, gid:(\d+) pw_gid:(\d+)`).FindStringSubmatch(cause.said); ids != nil &&
		ids[1] != ids[2] {
		gid, primary := ids[1], groupName(ids[2])
		return m.problem(cause,
			fmt.Sprintf("this runs with the group %s, but %s's primary group in /etc/passwd is %s, and %s serves a user in that group only",
				groupName(gid), o.owner(), primary, h.program),
			fmt.Sprintf("run the command as: sg %s -c 'COMMAND', or after: newgrp %[1]s, or after logging in again", primary))
	}
	return m.problem(cause, fmt.Sprintf("%s takes the process for another user's (%s)", h.program, cause.said),
		"log in again, so that user and group IDs are those of /etc/passwd")
}

// groupName gives the name of a group, or its number if it has none.
func groupName(id string) string {
	g, err := user.LookupGroupId(id)
	if err != nil {
		return id
	}
	return g.Name
}
