package fsys

import "golang.org/x/sys/unix"

// OwnIDs are the IDs that the files get which this process makes.
func OwnIDs() (uid, gid uint32) { return uint32(unix.Geteuid()), uint32(unix.Getegid()) }

// Mine tells whether a file is this process's own, by its user ID.
func Mine(st *unix.Stat_t) bool {
	uid, _ := OwnIDs()
	return st.Uid == uid
}
