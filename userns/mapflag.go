package userns

import (
	"fmt"
	"strings"
)

// The options that take a [MapFlag].
const (
	OptionUIDMap = "--uidmap"
	OptionGIDMap = "--gidmap"
)

// MapFlag is one --uidmap or --gidmap: [FLAGS]CONTAINER:[@]FROM[:LENGTH]. The forms are those of podman-run(1).
type MapFlag struct {
	Container uint32 // first ID inside
	From      uint32 // first intermediate ID; a host ID for root, or if Host is set
	Length    uint32 // number of IDs, at least 1
	Host      bool   // flag @: From is a host ID
	Extend    bool   // flag +: takes over IDs that earlier flags map, or extends the default map if it is the first flag
	Users     bool   // flag u: for the user map
	// Groups is the flag g: for the group map. With neither u nor g the flag is for the map of its option, and for the
	// other map too if the command line has no option for that.
	Groups bool
}

// ParseMapFlag reads the value of one --uidmap or --gidmap; option is its name, for errors, which match
// [ErrBadRequest].
func ParseMapFlag(option, text string) (MapFlag, error) {
	digits := strings.TrimLeft(text, "+ug")
	f, err := parseTriple(digits)
	if err != nil {
		return MapFlag{}, &RequestError{Option: option, Value: text, Problem: err.Error()}
	}
	for _, c := range text[:len(text)-len(digits)] {
		to := &f.Extend
		switch c {
		case 'u':
			to = &f.Users
		case 'g':
			to = &f.Groups
		}
		if *to {
			return MapFlag{}, &RequestError{Option: option, Value: text, Problem: fmt.Sprintf("the flag %c is there twice", c)}
		}
		*to = true
	}
	return f, nil
}

// ParseMapFlags reads all values of one option, in their order.
func ParseMapFlags(option string, texts []string) ([]MapFlag, error) {
	flags := make([]MapFlag, 0, len(texts))
	for _, text := range texts {
		f, err := ParseMapFlag(option, text)
		if err != nil {
			return nil, err
		}
		flags = append(flags, f)
	}
	return flags, nil
}

// parseTriple reads CONTAINER:[@]FROM[:LENGTH].
func parseTriple(text string) (MapFlag, error) {
	fields := strings.Split(text, ":")
	if len(fields) != 2 && len(fields) != 3 {
		return MapFlag{}, fmt.Errorf("must be [+ug]CONTAINER:[@]FROM[:LENGTH]")
	}

	var (
		f   = MapFlag{Length: 1}
		err error
	)
	if f.Container, err = parseID(fields[0]); err != nil {
		return MapFlag{}, err
	}

	from, host := strings.CutPrefix(fields[1], "@")
	f.Host = host
	if f.From, err = parseID(from); err != nil {
		return MapFlag{}, err
	}
	if len(fields) == 3 {
		if f.Length, err = parseID(fields[2]); err != nil || f.Length == 0 {
			return MapFlag{}, fmt.Errorf("%q is not a length from 1 to %d", fields[2], MaxID)
		}
	}

	for _, first := range []uint32{f.Container, f.From} {
		if uint64(first)+uint64(f.Length)-1 > uint64(MaxID) {
			return MapFlag{}, fmt.Errorf("%d IDs from %d on go beyond the highest ID %d", f.Length, first, MaxID)
		}
	}

	return f, nil
}

// String gives the flag as it is written on the command line.
func (f MapFlag) String() string {
	var b strings.Builder
	for _, c := range []struct {
		set  bool
		text string
	}{{f.Extend, "+"}, {f.Users, "u"}, {f.Groups, "g"}} {
		if c.set {
			b.WriteString(c.text)
		}
	}
	at := ""
	if f.Host {
		at = "@"
	}
	fmt.Fprintf(&b, "%d:%s%d:%d", f.Container, at, f.From, f.Length)
	return b.String()
}
