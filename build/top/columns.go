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
	value              func(v view) string
}

// view is a process with what gives its IDs names.
type view struct {
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
		{"args", "%a", "COMMAND", view.args},
		{"build", "", "BUILD", func(v view) string { return v.Step.Build }},
		{"capamb", "", "AMBIENT CAPS", func(v view) string { return v.caps("CapAmb") }},
		{"capbnd", "", "BOUNDING CAPS", func(v view) string { return v.caps("CapBnd") }},
		{"capeff", "", "EFFECTIVE CAPS", func(v view) string { return v.caps("CapEff") }},
		{"capinh", "", "INHERITED CAPS", func(v view) string { return v.caps("CapInh") }},
		{"capprm", "", "PERMITTED CAPS", func(v view) string { return v.caps("CapPrm") }},
		{"comm", "%c", "COMMAND", func(v view) string { return v.Comm }},
		{"command", "", "COMMAND", view.args},
		{"etime", "%t", "ELAPSED", func(v view) string { return v.elapsed().Round(time.Millisecond).String() }},
		{"gidmap", "", "GIDMAP", func(v view) string { return oneLineMap(v.GIDMap) }},
		{"group", "%G", "GROUP", func(v view) string { return v.group(v.GIDs[1]) }},
		{"groups", "", "GROUPS", func(v view) string { return list(v.Groups, v.group) }},
		{"hgroup", "", "HGROUP", func(v view) string { return v.host.group(v.GIDs[1]) }},
		{"hgroups", "", "HGROUPS", func(v view) string { return list(v.Groups, v.host.group) }},
		{"hpid", "", "HPID", func(v view) string { return strconv.Itoa(v.Host) }},
		{"huser", "", "HUSER", func(v view) string { return v.host.user(v.UIDs[1]) }},
		{"instruction", "", "INSTRUCTION", func(v view) string { return v.Step.Instruction }},
		{"label", "", "LABEL", func(v view) string { return orNone(v.Label, "?") }},
		{"nice", "%n", "NI", func(v view) string { return strconv.Itoa(v.Nice) }},
		{"pcpu", "%C", "%CPU", view.pcpu},
		{"pgid", "%r", "PGID", func(v view) string { return strconv.Itoa(v.PGID) }},
		{"pid", "%p", "PID", func(v view) string { return strconv.Itoa(v.PID) }},
		{"ppid", "%P", "PPID", func(v view) string { return strconv.Itoa(v.PPID) }},
		{"rgroup", "%g", "RGROUP", func(v view) string { return v.group(v.GIDs[0]) }},
		{"rss", "", "RSS", func(v view) string { return strconv.FormatUint(v.RSS>>10, 10) }},
		{"ruser", "%u", "RUSER", func(v view) string { return v.user(v.UIDs[0]) }},
		{"seccomp", "", "SECCOMP", view.seccomp},
		{"state", "", "STATE", func(v view) string { return v.State }},
		{"step", "", "STEP", func(v view) string { return v.Step.Number }},
		{"stime", "", "STIME", func(v view) string { return v.Started.Local().Format("2006-01-02 15:04:05 -0700 MST") }},
		{"tag", "", "TAG", view.tag},
		{"time", "%x", "TIME", func(v view) string { return v.CPU.String() }},
		{"tty", "%y", "TTY", view.tty},
		{"uidmap", "", "UIDMAP", func(v view) string { return oneLineMap(v.UIDMap) }},
		{"user", "%U", "USER", func(v view) string { return v.user(v.UIDs[1]) }},
		{"vsz", "%z", "VSZ", func(v view) string { return strconv.FormatUint(v.VSZ>>10, 10) }},
	}
}

func orNone(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

func (v view) args() string {
	if len(v.Args) == 0 { // a zombie
		return "[" + v.Comm + "]"
	}
	return strings.Join(v.Args, " ")
}

func (v view) tag() string {
	if len(v.Step.Tags) == 0 {
		return "-"
	}
	return v.Step.Tags[0]
}

func (v view) elapsed() time.Duration { return max(v.Now.Sub(v.Started), 0) }

func (v view) pcpu() string {
	seconds := v.elapsed().Seconds()
	if seconds <= 0 {
		return "0.000"
	}
	return fmt.Sprintf("%.3f", 100*v.CPU.Seconds()/seconds)
}

func (v view) seccomp() string {
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
func (v view) tty() string {
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
func (v view) user(host uint32) string { return inside(v.UIDMap, host, v.names.Users) }

func (v view) group(host uint32) string { return inside(v.GIDMap, host, v.names.Groups) }

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
