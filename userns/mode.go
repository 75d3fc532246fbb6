package userns

import (
	"fmt"
	"strconv"
	"strings"
)

// ModeName is a user namespace mode by its name on the command line.
type ModeName string

// The modes of --userns.
const (
	// ModeDefault is the mode without --userns. An ordinary user has the mapping of [Default], root's steps that of
	// [FromSubIDs].
	ModeDefault ModeName = ""
	// ModeHost runs steps in the namespace that cooper itself works in, without a second one.
	ModeHost ModeName = "host"
	// ModePrivate runs steps in a second namespace with the maps of the other options. Without such options root has the
	// mapping of ModeDefault; for an ordinary user that is an error.
	ModePrivate ModeName = "private"
	// ModeKeepID maps the user's own ID to the same container ID, or to the one that the mode's options give.
	ModeKeepID ModeName = "keep-id"
	// ModeNoMap leaves the user's own ID out of the map.
	ModeNoMap ModeName = "nomap"
	// ModeAuto chooses a range of IDs that nothing else in the store uses.
	ModeAuto ModeName = "auto"
	// ModeNS runs steps in a namespace that exists already, named by its path.
	ModeNS ModeName = "ns"
)

// modeForms lists the values of --userns, for messages.
const modeForms = "host, private, keep-id[:uid=N,gid=N], nomap, auto[:size=N,uidmapping=C:F:L,gidmapping=C:F:L] or ns:PATH"

// Mode is --userns as it was written. The zero value is [ModeDefault].
type Mode struct {
	Name   ModeName
	KeepID KeepID    // for ModeKeepID
	Auto   AutoFlags // for ModeAuto
	NSPath string    // for ModeNS: an absolute path
}

// KeepID gives the container IDs for the user's own IDs; nil: the same numbers as on the host.
type KeepID struct {
	UID, GID *uint32
}

// AutoFlags are the options of --userns=auto as they were written.
type AutoFlags struct {
	Size uint32    // number of IDs; 0: as many as the image needs
	UIDs []MapFlag // ranges that the user map always has
	GIDs []MapFlag // ranges that the group map always has
}

// ParseMode reads a mode. "" is [ModeDefault]. Errors match [ErrBadRequest].
func ParseMode(text string) (Mode, error) {
	name, options, hasOptions := strings.Cut(text, ":")
	m := Mode{Name: ModeName(name)}
	var err error
	switch m.Name {
	case ModeDefault, ModeHost, ModePrivate, ModeNoMap:
		if hasOptions {
			if m.Name == ModeDefault {
				return Mode{}, badMode(text, "must be "+modeForms)
			}
			return Mode{}, badMode(text, fmt.Sprintf("%s takes no options", name))
		}
	case ModeKeepID:
		if hasOptions {
			m.KeepID, err = parseKeepID(text, options)
		}
	case ModeAuto:
		if hasOptions {
			m.Auto, err = parseAuto(text, options)
		}
	case ModeNS:
		if !strings.HasPrefix(options, "/") || strings.ContainsRune(options, 0) {
			return Mode{}, badMode(text, "ns takes the absolute path of a user namespace, such as ns:/proc/PID/ns/user")
		}
		m.NSPath = options
	default:
		return Mode{}, badMode(text, "must be "+modeForms)
	}

	if err != nil {
		return Mode{}, err
	}
	return m, nil
}

func parseKeepID(text, options string) (KeepID, error) {
	var k KeepID
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		to := &k.UID
		switch key {
		case "uid":
		case "gid":
			to = &k.GID
		default:
			return k, badMode(text, fmt.Sprintf("%q must be uid=N or gid=N", option))
		}
		if *to != nil {
			return k, badMode(text, key+" is there twice")
		}
		id, err := parseID(value)
		if err != nil {
			return k, badMode(text, key+": "+err.Error())
		}
		*to = &id
	}
	return k, nil
}

func parseAuto(text, options string) (AutoFlags, error) {
	var a AutoFlags
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "size":
			if a.Size != 0 {
				return a, badMode(text, "size is there twice")
			}
			size, err := parseID(value)
			if err != nil || size == 0 {
				return a, badMode(text, fmt.Sprintf("size: %q is not a number from 1 to %d", value, MaxID))
			}
			a.Size = size
		case "uidmapping", "gidmapping":
			f, err := parseTriple(value)
			if err != nil {
				return a, badMode(text, key+": "+err.Error())
			}
			if key == "uidmapping" {
				a.UIDs = append(a.UIDs, f)
			} else {
				a.GIDs = append(a.GIDs, f)
			}
		default:
			return a, badMode(text, fmt.Sprintf("%q must be size=N, uidmapping=C:F:L or gidmapping=C:F:L", option))
		}
	}

	return a, nil
}

// String gives the mode as it is written on the command line.
func (m Mode) String() string {
	var options []string
	switch m.Name {
	case ModeKeepID:
		if m.KeepID.UID != nil {
			options = append(options, fmt.Sprintf("uid=%d", *m.KeepID.UID))
		}
		if m.KeepID.GID != nil {
			options = append(options, fmt.Sprintf("gid=%d", *m.KeepID.GID))
		}
	case ModeAuto:
		if m.Auto.Size != 0 {
			options = append(options, fmt.Sprintf("size=%d", m.Auto.Size))
		}
		for _, f := range m.Auto.UIDs {
			options = append(options, "uidmapping="+f.String())
		}
		for _, f := range m.Auto.GIDs {
			options = append(options, "gidmapping="+f.String())
		}
	case ModeNS:
		options = []string{m.NSPath}
	}

	if len(options) == 0 {
		return string(m.Name)
	}
	return string(m.Name) + ":" + strings.Join(options, ",")
}

// parseID reads the number of an ID that can be mapped.
func parseID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || uint32(id) > MaxID {
		return 0, fmt.Errorf("%q is not an ID from 0 to %d", text, MaxID)
	}
	return uint32(id), nil
}
