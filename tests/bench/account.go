package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

const (
	benchUser = "cooperbench"
	// The usual size of a range of subordinate IDs, and where the first one begins.
	subIDCount = 65536
	subIDFirst = 100000
)

// An account is the user that everything is measured as.
type account struct {
	Name     string
	UID, GID uint32
	// made is true if bench created the user and has to remove it.
	made bool
	// switched is true if commands have to be started under another user than bench's own.
	switched bool
}

// openAccount returns bench's own user or, for root, the ordinary user cooperbench with ranges of subordinate IDs.
func openAccount(ctx context.Context) (account, error) {
	if os.Geteuid() != 0 {
		u, err := user.Current()
		if err != nil {
			return account{}, fmt.Errorf("look up own user: %w", err)
		}
		return newAccount(u)
	}
	made := false
	u, err := user.Lookup(benchUser)
	if errors.As(err, new(user.UnknownUserError)) {
		if err := command(ctx, "useradd", "--no-create-home", "--user-group", "--shell", "/bin/sh", benchUser); err != nil {
			return account{}, err
		}
		made = true
		u, err = user.Lookup(benchUser)
	}
	if err != nil {
		return account{}, fmt.Errorf("look up user %s: %w", benchUser, err)
	}
	a, err := newAccount(u)
	a.made, a.switched = made, true
	if err != nil {
		return a, err
	}
	for _, ids := range []struct{ file, flag string }{{"/etc/subuid", "--add-subuids"}, {"/etc/subgid", "--add-subgids"}} {
		start, has, err := freeSubIDs(ids.file, a)
		if err != nil {
			return a, err
		}
		if has {
			continue
		}
		if err := command(ctx, "usermod", ids.flag, fmt.Sprintf("%d-%d", start, start+subIDCount-1), a.Name); err != nil {
			return a, err
		}
	}
	return a, nil
}

func newAccount(u *user.User) (account, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("read user ID: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("read group ID: %w", err)
	}
	return account{Name: u.Username, UID: uint32(uid), GID: uint32(gid)}, nil
}

// freeSubIDs returns the first ID above all ranges of the file, and whether the account has a range already.
func freeSubIDs(file string, a account) (start uint64, has bool, err error) {
	start = subIDFirst
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return start, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read subordinate IDs: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 3 {
			continue
		}
		first, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		start = max(start, first+count)
		has = has || fields[0] == a.Name || fields[0] == strconv.FormatUint(uint64(a.UID), 10)
	}
	return start, has, lines.Err()
}

// close removes the user if bench made it; userdel takes the subordinate IDs away too.
func (a account) close(ctx context.Context) error {
	if !a.made {
		return nil
	}
	return command(ctx, "userdel", a.Name)
}

// command runs a program of the system for its effect; what it printed is part of the error.
func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
