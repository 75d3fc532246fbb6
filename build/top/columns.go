package top

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/userns"
)

// usual are the descriptors of a table for which none are given.
const usual = "build,step,user,pid,huser,ppid,pcpu,etime,time,args"

// column is a descriptor. Names, codes and headers are podman's, where podman has them.
type column struct {
	name, code, header string
	value              func(v shown) string
}

// shown is a process with what gives its IDs names.
type shown struct {
	Process
	names Names
	host  hostNames
}

func find(name string) (column, bool) {
	for _, c := range allColumns() {
		if name == c.name || c.code != "" && name == c.code {
			return c, true
		}
	}
	return column{}, false
}

// allColumns are sorted by name.
func allColumns() []column {
	return []column{
		{"args", "%a", "COMMAND", shown.args},
		{"build", "", "BUILD", func(v shown) string { return v.Step.Build }},
		{"capamb", "", "AMBIENT CAPS", func(v shown) string { return v.caps("CapAmb") }},
		{"capbnd", "", "BOUNDING CAPS", func(v shown) string { return v.caps("CapBnd") }},
		{"capeff", "", "EFFECTIVE CAPS", func(v shown) string { return v.caps("CapEff") }},
		{"capinh", "", "INHERITED CAPS", func(v shown) string { return v.caps("CapInh") }},
		{"capprm", "", "PERMITTED CAPS", func(v shown) string { return v.caps("CapPrm") }},
		{"comm", "%c", "COMMAND", func(v shown) string { return v.Comm }},
		{"command", "", "COMMAND", shown.args},
		{"etime", "%t", "ELAPSED", func(v shown) string { return v.elapsed().Round(time.Millisecond).String() }},
		{"gidmap", "", "GIDMAP", func(v shown) string { return oneLineMap(v.GIDMap) }},
		{"group", "%G", "GROUP", func(v shown) string { return v.group(v.GIDs[1]) }},
		{"groups", "", "GROUPS", func(v shown) string { return list(v.Groups, v.group) }},
		{"hgroup", "", "HGROUP", func(v shown) string { return v.host.group(v.GIDs[1]) }},
		{"hgroups", "", "HGROUPS", func(v shown) string { return list(v.Groups, v.host.group) }},
		{"hpid", "", "HPID", func(v shown) string { return strconv.Itoa(v.Host) }},
		{"huser", "", "HUSER", func(v shown) string { return v.host.user(v.UIDs[1]) }},
		{"instruction", "", "INSTRUCTION", func(v shown) string { return v.Step.Instruction }},
		{"label", "", "LABEL", func(v shown) string { return orNone(v.Label, "?") }},
		{"nice", "%n", "NI", func(v shown) string { return strconv.Itoa(v.Nice) }},
		{"pcpu", "%C", "%CPU", shown.pcpu},
		{"pgid", "%r", "PGID", func(v shown) string { return strconv.Itoa(v.PGID) }},
		{"pid", "%p", "PID", func(v shown) string { return strconv.Itoa(v.PID) }},
		{"ppid", "%P", "PPID", func(v shown) string { return strconv.Itoa(v.PPID) }},
		{"rgroup", "%g", "RGROUP", func(v shown) string { return v.group(v.GIDs[0]) }},
		{"rss", "", "RSS", func(v shown) string { return strconv.FormatUint(v.RSS>>10, 10) }},
		{"ruser", "%u", "RUSER", func(v shown) string { return v.user(v.UIDs[0]) }},
		{"seccomp", "", "SECCOMP", shown.seccomp},
		{"state", "", "STATE", func(v shown) string { return v.State }},
		{"step", "", "STEP", func(v shown) string { return v.Step.Number }},
		{"stime", "", "STIME", func(v shown) string { return v.Started.Local().Format("2006-01-02 15:04:05 -0700 MST") }},
		{"tag", "", "TAG", shown.tag},
		{"time", "%x", "TIME", func(v shown) string { return v.CPU.String() }},
		{"tty", "%y", "TTY", shown.tty},
		{"uidmap", "", "UIDMAP", func(v shown) string { return oneLineMap(v.UIDMap) }},
		{"user", "%U", "USER", func(v shown) string { return v.user(v.UIDs[1]) }},
		{"vsz", "%z", "VSZ", func(v shown) string { return strconv.FormatUint(v.VSZ>>10, 10) }},
	}
}

func orNone(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

func (v shown) args() string {
	if len(v.Args) == 0 { // a zombie
		return "[" + v.Comm + "]"
	}
	return strings.Join(v.Args, " ")
}

func (v shown) tag() string {
	if len(v.Step.Tags) == 0 {
		return "-"
	}
	return v.Step.Tags[0]
}

func (v shown) elapsed() time.Duration { return max(v.Now.Sub(v.Started), 0) }

func (v shown) pcpu() string {
	seconds := v.elapsed().Seconds()
	if seconds <= 0 {
		return "0.000"
	}
	return fmt.Sprintf("%.3f", 100*v.CPU.Seconds()/seconds)
}

func (v shown) seccomp() string {
	switch v.Seccomp {
	case "0":
		return "disabled"
	case "1":
		return "strict"
	case "2":
		return "filter"
	}
	return "?"
}

// tty names a terminal by its device number (proc_pid_stat(5)).
func (v shown) tty() string {
	major, minor := v.TTY>>8&0xfff, v.TTY&0xff|v.TTY>>12&0xfff00
	switch {
	case v.TTY == 0:
		return "?"
	case major == 4:
		return fmt.Sprintf("tty%d", minor)
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", (major-136)<<20|minor)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

// user gives the name or number of a user inside the step.
func (v shown) user(host uint32) string { return inside(v.UIDMap, host, v.names.Users) }

func (v shown) group(host uint32) string { return inside(v.GIDMap, host, v.names.Groups) }

// inside turns an ID as the caller sees it into the container's, and that into a name if the image has one.
func inside(mapText string, id uint32, names map[uint32]string) string {
	m, err := userns.ParseMap(mapText)
	if err != nil {
		return "?"
	}
	container, err := m.ToContainer(id)
	if err != nil {
		return "?"
	}
	return orNone(names[container], strconv.FormatUint(uint64(container), 10))
}

func list(ids []uint32, name func(uint32) string) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = name(id)
	}
	return orNone(strings.Join(names, ","), "-")
}

func oneLineMap(text string) string {
	var ranges []string
	for line := range strings.Lines(text) {
		ranges = append(ranges, strings.Join(strings.Fields(line), " "))
	}
	return orNone(strings.Join(ranges, ","), "?")
}

// hostNames asks the machine for each name once.
type hostNames struct{ users, groups map[uint32]string }

func newHostNames() hostNames { return hostNames{map[uint32]string{}, map[uint32]string{}} }

func (h hostNames) user(id uint32) string {
	return remembered(h.users, id, func(number string) string {
		u, err := user.LookupId(number)
		if err != nil {
			return number
		}
		return u.Username
	})
}

func (h hostNames) group(id uint32) string {
	return remembered(h.groups, id, func(number string) string {
		g, err := user.LookupGroupId(number)
		if err != nil {
			return number
		}
		return g.Name
	})
}

func remembered(names map[uint32]string, id uint32, ask func(number string) string) string {
	name, ok := names[id]
	if !ok {
		name = ask(strconv.FormatUint(uint64(id), 10))
		names[id] = name
	}
	return name
}
