package top

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// ticks is USER_HZ, the unit of times in /proc/PID/stat: a constant of Linux's interface on all machines Go runs on.
const ticks = 100

// Process is a process of a step. IDs are those that the caller's namespaces show unless it says otherwise.
type Process struct {
	Step   *Step
	Host   int // process ID
	PID    int // process ID in the step
	PPID   int // in the step; 0 if the parent isn't in it
	PGID   int // in the step
	parent int

	Comm    string
	Args    []string
	State   string
	TTY     int // device number; 0 for none
	Nice    int
	VSZ     uint64 // bytes
	RSS     uint64 // bytes
	CPU     time.Duration
	Started time.Time
	Now     time.Time

	// UIDs and GIDs are real and effective IDs.
	UIDs, GIDs [2]uint32
	Groups     []uint32
	Caps       map[string]uint64 // CapInh, CapPrm, CapEff, CapBnd, CapAmb
	Seccomp    string            // "0", "1" or "2"
	Label      string

	UIDMap, GIDMap string // lines of /proc/PID/uid_map
}

var errStat = errors.New("not the form of /proc/PID/stat")

// parseStat reads /proc/PID/stat (proc_pid_stat(5)). Comm may hold anything, a parenthesis and spaces too.
func (p *Process) parseStat(text string, boot time.Time) error {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return errStat
	}
	p.Comm = text[open+1 : end]
	f := strings.Fields(text[end+1:]) // f[0] is field 3
	if len(f) < 22 {
		return errStat
	}
	var n [22]int64
	for i := 1; i < len(n); i++ {
		v, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			// The only numbers that don't fit are those that count without a sign, none of which is used.
			continue
		}
		n[i] = v
	}
	p.State, p.parent, p.TTY, p.Nice = f[0], int(n[1]), int(n[4]), int(n[16])
	p.CPU = time.Duration(n[11]+n[12]) * time.Second / ticks
	p.Started = boot.Add(time.Duration(n[19]) * time.Second / ticks)
	p.VSZ = uint64(max(n[20], 0))
	return nil
}

// parseStatus reads /proc/PID/status (proc_pid_status(5)).
func (p *Process) parseStatus(text string) {
	p.Caps = map[string]uint64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if len(f) == 0 {
			continue
		}
		switch name {
		case "Uid":
			p.UIDs = firstTwo(f)
		case "Gid":
			p.GIDs = firstTwo(f)
		case "Groups":
			p.Groups = numbers(f)
		case "NSpid":
			p.PID = lastNumber(f)
		case "NSpgid":
			p.PGID = lastNumber(f)
		case "Seccomp":
			p.Seccomp = f[0]
		case "VmRSS":
			kib, _ := strconv.ParseUint(f[0], 10, 54)
			p.RSS = kib << 10
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			p.Caps[name], _ = strconv.ParseUint(f[0], 16, 64)
		}
	}
}

func firstTwo(fields []string) [2]uint32 {
	n := append(numbers(fields), 0, 0)
	return [2]uint32{n[0], n[1]}
}

func numbers(fields []string) []uint32 {
	var all []uint32
	for _, f := range fields {
		if n, err := strconv.ParseUint(f, 10, 32); err == nil {
			all = append(all, uint32(n))
		}
	}
	return all
}

// lastNumber is the one of the innermost namespace.
func lastNumber(fields []string) int {
	n, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return 0
	}
	return n
}

// parseNames reads names by ID from a passwd or group file. The first line of an ID counts.
func parseNames(text string) map[uint32]string {
	names := map[uint32]string{}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 3 || f[0] == "" {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			if _, ok := names[uint32(id)]; !ok {
				names[uint32(id)] = f[0]
			}
		}
	}
	return names
}
