package fileop

import (
	"fmt"
	"strconv"
	"strings"
)

// modeChange gives the new mode of a file or directory; both are permission bits with setuid, setgid and sticky.
type modeChange func(mode uint32, dir bool) uint32

// defaultUmask is what a symbolic mode that names nobody, as "+w", leaves alone; fixed, so that it means the same everywhere.
const defaultUmask = 0o022

// ParseChmod checks the argument of --chmod: an octal number up to 07777, or symbolic as chmod(1) has it.
func ParseChmod(spec string) error {
	_, err := parseChmod(spec)
	return err
}

// parseChmod reads --chmod; nil changes nothing.
func parseChmod(spec string) (modeChange, error) {
	if spec == "" {
		return nil, nil
	}
	if strings.Trim(spec, "0123456789") == "" {
		mode, err := strconv.ParseUint(spec, 8, 32)
		if err != nil || mode > 0o7777 {
			return nil, fmt.Errorf("parse chmod %q: not an octal number between 0 and 07777", spec)
		}
		return func(uint32, bool) uint32 { return uint32(mode) }, nil
	}
	var changes []modeChange
	for clause := range strings.SplitSeq(spec, ",") {
		change, err := parseClause(clause)
		if err != nil {
			return nil, fmt.Errorf("parse chmod %q: %w", spec, err)
		}
		changes = append(changes, change...)
	}
	return func(mode uint32, dir bool) uint32 {
		for _, change := range changes {
			mode = change(mode, dir)
		}
		return mode
	}, nil
}

// The bits of user, group and others, with the bit among setuid, setgid and sticky that goes with them.
const (
	userBits  = 0o4700
	groupBits = 0o2070
	otherBits = 0o1007
)

// parseClause reads WHO(OP PERM)+.
func parseClause(clause string) ([]modeChange, error) {
	var who uint32
	rest := strings.TrimLeft(clause, "ugoa")
	for _, c := range clause[:len(clause)-len(rest)] {
		who |= map[rune]uint32{'u': userBits, 'g': groupBits, 'o': otherBits, 'a': userBits | groupBits | otherBits}[c]
	}
	spared := uint32(0)
	if who == 0 {
		who, spared = userBits|groupBits|otherBits, defaultUmask
	}
	var changes []modeChange
	for rest != "" {
		op := rest[0]
		if strings.IndexByte("+-=", op) < 0 {
			return nil, fmt.Errorf("%q: expected +, - or = before %q", clause, rest)
		}
		end := strings.IndexAny(rest[1:], "+-=") + 1
		if end == 0 {
			end = len(rest)
		}
		perms, err := parsePerms(rest[1:end])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", clause, err)
		}
		changes = append(changes, operation(op, who, spared, perms))
		rest = rest[end:]
	}
	if len(changes) == 0 {
		return nil, fmt.Errorf("%q: expected +, - or =", clause)
	}
	return changes, nil
}

// operation applies one of + - = to who's bits.
func operation(op byte, who, spared uint32, perms modeChange) modeChange {
	return func(mode uint32, dir bool) uint32 {
		bits := perms(mode, dir) & who &^ spared
		switch op {
		case '+':
			return mode | bits
		case '-':
			return mode &^ bits
		default:
			cleared := who
			if dir {
				// As chmod(1): a directory keeps setuid and setgid unless they are named.
				cleared &^= 0o6000
			}
			return mode&^cleared | bits
		}
	}
}

// parsePerms reads rwxXst in any order, or one of u, g, o to copy from.
func parsePerms(text string) (modeChange, error) {
	switch text {
	case "u":
		return func(mode uint32, _ bool) uint32 { return mode >> 6 & 7 * 0o111 }, nil
	case "g":
		return func(mode uint32, _ bool) uint32 { return mode >> 3 & 7 * 0o111 }, nil
	case "o":
		return func(mode uint32, _ bool) uint32 { return mode & 7 * 0o111 }, nil
	}
	bits := map[rune]uint32{'r': 0o444, 'w': 0o222, 'x': 0o111, 's': 0o6000, 't': 0o1000}
	var fixed uint32
	conditional := false
	for _, c := range text {
		bit, ok := bits[c]
		if !ok && c != 'X' {
			return nil, fmt.Errorf("unknown permission %q", c)
		}
		fixed |= bit
		conditional = conditional || c == 'X'
	}
	return func(mode uint32, dir bool) uint32 {
		if conditional && (dir || mode&0o111 != 0) {
			return fixed | 0o111
		}
		return fixed
	}, nil
}
