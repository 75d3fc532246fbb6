package userns

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// The files that a [Finder] reads if its fields name no others.
const (
	DefaultSubUID   = "/etc/subuid"
	DefaultSubGID   = "/etc/subgid"
	defaultNSSwitch = "/etc/nsswitch.conf"
)

// Finder looks up subordinate IDs. The zero value reads the files of the system.
type Finder struct {
	SubUID    string // file of user ranges; "" is DefaultSubUID
	SubGID    string // file of group ranges; "" is DefaultSubGID
	NSSwitch  string // the nsswitch.conf to read; "" is defaultNSSwitch
	Getsubids string // the program; "" looks for getsubids in PATH
	// Own is the mapping of the user namespace in which the files are read: remedies propose only IDs that it has. Nil: it
	// has all IDs.
	Own *Mapping
}

// Find gives the owner's ranges. They come from the two files, unless the line
// "subid:" of nsswitch.conf names another source first (as libsubid reads it):
// then getsubids, which asks that source, is run.
//
// When there are no user or no group ranges the error is a [NoSubIDsError]. Other
// errors match [ErrBadSubIDs] or [ErrNoGetsubids], or come from reading nsswitch.conf.
func (f Finder) Find(ctx context.Context, owner User) (SubIDs, error) {
	source, err := f.source()
	if err != nil {
		return SubIDs{}, err
	}
	if source != "" {
		return f.ask(ctx, owner, source)
	}

	uids, err := readSubIDs(f.subUID(), owner)
	if err != nil {
		return SubIDs{}, err
	}

	gids, err := readSubIDs(f.subGID(), owner)
	if err != nil {
		return SubIDs{}, err
	}
	if len(uids) > 0 && len(gids) > 0 {
		return SubIDs{UIDs: uids, GIDs: gids}, nil
	}

	missing := &NoSubIDsError{User: owner}
	forUIDs, forGIDs := f.places()
	if len(uids) == 0 {
		missing.UIDs = forUIDs.grant(subIDCount, 1, []uint32{owner.ID})
	}
	if len(gids) == 0 {
		missing.GIDs = forGIDs.grant(subIDCount, 1, []uint32{owner.ID})
	}

	return SubIDs{}, missing
}

// FindRoot gives the ranges for the steps that root runs, and their owner: root, or "containers" if root has none.
func (f Finder) FindRoot(ctx context.Context) (whose User, sub SubIDs, err error) {
	for _, name := range []string{"root", sharedName} {
		whose = User{Name: name, ID: ^uint32(0)}
		if sub, err = f.Find(ctx, whose); !errors.Is(err, ErrNoSubIDs) {
			break
		}
	}
	return whose, sub, err
}

// Check reports with a [RangeError] which of the container IDs that an image needs
// the owner's mapping leaves out, all of them at once; nil when there are none.
func (f Finder) Check(ctx context.Context, owner User, m Mapping, need IDs) error {
	missing := m.Missing(need)
	if missing.Empty() {
		return nil
	}
	e := &RangeError{User: owner, Missing: missing.UIDs, MissingGIDs: missing.GIDs}
	// The ranges only make the message better, so an error in reading them is dropped: the error that the user must see is
	// that IDs are missing.
	e.Sub, _ = f.Find(ctx, owner)
	if e.Source, _ = f.source(); e.Source != "" {
		return e
	}
	forUIDs, forGIDs := f.places()
	e.UIDs = forUIDs.shortfall(m.UIDs, missing.UIDs)
	e.GIDs = forGIDs.shortfall(m.GIDs, missing.GIDs)
	return e
}

// shortfall is the grant that raises the highest container ID to the highest missing one.
func (p grantPlace) shortfall(m Map, missing []uint32) Grant {
	if len(missing) == 0 {
		return Grant{}
	}
	var mapped uint64
	for _, r := range m {
		mapped += uint64(r.Length)
	}
	count := uint64(missing[len(missing)-1]) + 1 - mapped
	return p.grant(count, count, nil)
}

// grant proposes a range of count IDs to add to file, in a namespace that has all IDs.
func grant(file string, count uint64) Grant { return grantWithout(file, count, nil) }

// grantWithout is grant for a range that contains none of the IDs in own.
func grantWithout(file string, count uint64, own []uint32) Grant {
	return grantPlace{file: file}.grant(count, count, own)
}

// places gives the two files, each with the IDs that exist in the namespace in which it is read.
func (f Finder) places() (uids, gids grantPlace) {
	uids, gids = grantPlace{file: f.subUID()}, grantPlace{file: f.subGID()}
	if f.Own != nil {
		uids.within, gids.within = f.Own.UIDs, f.Own.GIDs
	}
	return uids, gids
}

func (f Finder) subUID() string { return orDefault(f.SubUID, DefaultSubUID) }

func (f Finder) subGID() string { return orDefault(f.SubGID, DefaultSubGID) }

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// readSubIDs reads the owner's ranges in a file. A missing file counts as empty.
func readSubIDs(path string, owner User) ([]SubIDRange, error) {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer in.Close()
	ranges, err := parseSubIDs(in, owner)
	if bad := new(SubIDFileError); errors.As(err, &bad) {
		bad.File = path
		return nil, bad
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	return ranges, nil
}

// unreadable gives the error for a file that can't be read, though it should be readable for everybody.
func unreadable(path string, err error) error {
	if at := new(fs.PathError); errors.As(err, &at) {
		err = at.Err
	}
	e := &SubIDFileError{File: path, Problem: fmt.Sprintf("it can't be read: %v", err), Remedy: "it must be a text file",
		Err: err}
	if errors.Is(err, fs.ErrPermission) {
		e.Remedy = "run as root: chmod 644 " + path
	}
	return e
}

// source gives the first source on the line "subid:" of nsswitch.conf; "" if that is "files", or without such a line.
func (f Finder) source() (string, error) {
	in, err := os.Open(orDefault(f.NSSwitch, defaultNSSwitch))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read nsswitch.conf: %w", err)
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "subid:")
		if !ok {
			continue
		}
		if fields := strings.Fields(rest); len(fields) > 0 && fields[0] != "files" {
			return fields[0], nil
		}
		return "", nil
	}

	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read nsswitch.conf: %w", err)
	}
	return "", nil
}

// ask gets the ranges from getsubids.
func (f Finder) ask(ctx context.Context, owner User, source string) (SubIDs, error) {
	program, err := exec.LookPath(orDefault(f.Getsubids, "getsubids"))
	if err != nil {
		return SubIDs{}, fmt.Errorf("find subordinate IDs: nsswitch.conf takes them from %q: %w; "+
			"run as root: apt install uidmap, or dnf install shadow-utils-subid, or zypper install shadow",
			source, ErrNoGetsubids)
	}
	uids, uerr := runGetsubids(ctx, program, owner.String())
	gids, gerr := runGetsubids(ctx, program, "-g", owner.String())
	if err := errors.Join(uerr, gerr); err != nil {
		return SubIDs{}, fmt.Errorf("find subordinate IDs of %s: %w", owner, err)
	}
	if len(uids) > 0 && len(gids) > 0 {
		return SubIDs{UIDs: uids, GIDs: gids}, nil
	}
	return SubIDs{}, &NoSubIDsError{User: owner, Source: source}
}

// runGetsubids runs getsubids and reads its answer. Exit status 1 means that the owner has no ranges: getsubids
// says so in no other way.
func runGetsubids(ctx context.Context, program string, args ...string) ([]SubIDRange, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("run getsubids: %w", err)
	}
	ranges, err := parseGetsubids(bytes.NewReader(out))
	if err != nil {
		return nil, fmt.Errorf("read answer of getsubids: %w", err)
	}
	return ranges, nil
}
