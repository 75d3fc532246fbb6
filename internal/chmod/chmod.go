// Package chmod reads the modes that --chmod gives, as numbers and in symbols, and changes modes as they say.
package chmod

import (
	"fmt"
	"strconv"
	"strings"
)

// dirMode is the mode of a directory that is made for a destination without an octal --chmod.
const dirMode = 0o755

// A Change is a parsed --chmod. Modes are permission bits with setuid, setgid and sticky. The zero value changes
// nothing.
type Change struct {
	// octal is the mode itself, if isOctal is set.
	octal   uint32
	isOctal bool
	clauses []modeOp
}

// modeOp does one operation to mode; was is the mode before all of them.
type modeOp func(mode, was uint32, dir bool) uint32

// Apply gives the new mode of a file or directory.
func (m Change) Apply(mode uint32, dir bool) uint32 {
	if m.isOctal {
		return m.octal
	}
	was := mode
	for _, op := range m.clauses {
		mode = op(mode, was, dir)
	}
	return mode
}

// Implied gives the mode of a directory that is made for a destination. As in docker, an octal --chmod applies to it
// too, without the special bits.
func (m Change) Implied() uint32 {
	if m.isOctal {
		return m.octal & 0o777
	}
	return dirMode
}

// Parse reads the argument of --chmod: an octal number up to 07777, or symbolic as chmod(1) of FreeBSD has it,
// whose rules are docker's. An empty one changes nothing.
func Parse(spec string) (Change, error) {
	if spec == "" {
		return Change{}, nil
	}
	if strings.Trim(spec, "0123456789") == "" {
		mode, err := strconv.ParseUint(spec, 8, 32)
		if err != nil || mode > 0o7777 {
			return Change{}, fmt.Errorf("parse chmod %q: not an octal number between 0 and 07777", spec)
		}
		return Change{octal: uint32(mode), isOctal: true}, nil
	}
	var m Change
	for clause := range strings.SplitSeq(spec, ",") {
		ops, err := parseClause(clause)
		if err != nil {
			return Change{}, fmt.Errorf("parse chmod %q: %w", spec, err)
		}
		m.clauses = append(m.clauses, ops...)
	}
	return m, nil
}

// The bits of user, group and others, with the set-ID bit that goes with them, and the sticky bit, which goes with
// none.
const (
	userBits   = 0o4700
	groupBits  = 0o2070
	otherBits  = 0o0007
	setIDBits  = 0o6000
	stickyBit  = 0o1000
	everybody  = userBits | groupBits | otherBits
	executable = 0o111
)

// parseClause reads WHO(OP PERM)+. An empty WHO means everybody; unlike in chmod(1) the umask isn't subtracted.
func parseClause(clause string) ([]modeOp, error) {
	var who uint32
	rest := strings.TrimLeft(clause, "ugoa")
	for _, c := range clause[:len(clause)-len(rest)] {
		who |= map[rune]uint32{'u': userBits, 'g': groupBits, 'o': otherBits, 'a': everybody}[c]
	}

	// For others alone there is neither a set-ID bit nor the sticky bit.
	w := whom{bits: who, special: who != otherBits}
	if who == 0 {
		w.bits = everybody
	}

	var ops []modeOp
	for rest != "" {
		op := rest[0]
		if strings.IndexByte("+-=", op) < 0 {
			return nil, fmt.Errorf("%q: expected +, - or = before %q", clause, rest)
		}
		end := strings.IndexAny(rest[1:], "+-=") + 1
		if end == 0 {
			end = len(rest)
		}
		more, err := w.parsePerms(op, rest[1:end])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", clause, err)
		}
		ops = append(ops, more...)
		rest = rest[end:]
	}

	if len(ops) == 0 && !strings.ContainsAny(clause, "+-=") {
		return nil, fmt.Errorf("%q: expected +, - or =", clause)
	}
	return ops, nil
}

// whom says which classes of users a clause is about.
type whom struct {
	bits    uint32
	special bool
}

// parsePerms reads the permissions after an operator: any of rwxXst, and u, g or o to copy from. Each copy is an
// operation of its own, done after the ones before it, so that of several copies with "=" the last one remains.
func (w whom) parsePerms(op byte, text string) ([]modeOp, error) {
	bits := map[rune]uint32{'r': 0o444, 'w': 0o222, 'x': executable}
	if w.special {
		bits['s'], bits['t'] = setIDBits, stickyBit
	}

	var ops []modeOp
	var perm, conditional uint32
	cleared := op != '='
	flush := func(last bool) {
		if perm != 0 || last && !cleared {
			ops = append(ops, w.set(op, perm))
			cleared = true
		}
		if conditional != 0 {
			ops = append(ops, w.setConditional(conditional))
		}
		perm, conditional = 0, 0
	}

	for _, c := range text {
		switch c {
		case 'u', 'g', 'o':
			flush(false)
			cleared = true
			ops = append(ops, w.copyFrom(op, map[rune]uint{'u': 6, 'g': 3, 'o': 0}[c]))
		case 'X':
			if op == '-' { // there is no condition to taking away
				perm |= executable
			} else {
				conditional |= executable
			}
		case 's', 't', 'r', 'w', 'x':
			perm |= bits[c]
			w.bits |= bits[c] & stickyBit // it belongs to nobody: from where it is named on it is meant, too
		default:
			return nil, fmt.Errorf("unknown permission %q", c)
		}
	}

	flush(true)
	return ops, nil
}

// set applies one of + - = to bits.
func (w whom) set(op byte, bits uint32) modeOp {
	bits &= w.bits
	return func(mode, _ uint32, _ bool) uint32 {
		switch op {
		case '+':
			return mode | bits
		case '-':
			return mode &^ bits
		default:
			return mode&^w.bits | bits
		}
	}
}

// setConditional gives the operation that adds bits to a directory, and to a file that had an execute bit before all
// operations ("X").
func (w whom) setConditional(bits uint32) modeOp {
	return func(mode, was uint32, dir bool) uint32 {
		if dir || was&executable != 0 {
			return mode | bits&w.bits
		}
		return mode
	}
}

// copyFrom applies one of + - = to the permissions of another class, found at shift.
func (w whom) copyFrom(op byte, shift uint) modeOp {
	return func(mode, _ uint32, _ bool) uint32 {
		bits := mode >> shift & 7 * executable & w.bits
		switch op {
		case '+':
			return mode | bits
		case '-':
			return mode &^ bits
		default:
			return mode&^(w.bits&0o777) | bits
		}
	}
}
