package settings

import (
	"fmt"
	"regexp"
	"strings"
)

// A Key is the name of a setting: its table in the file, a dot, and the name there.
type Key string

// The keys.
const (
	NetworkDefault   Key = "network.default"
	NetworkAllowHost Key = "network.allow-host-when-impossible"

	LimitsMemory    Key = "limits.memory"
	LimitsCPUs      Key = "limits.cpus"
	LimitsProcesses Key = "limits.processes"
	LimitsTime      Key = "limits.step-timeout"

	DiskMaxUsed Key = "disk.max-used-space"
	// DiskProjects is a table with names of the user's: [Settings.Below] gives what is in it.
	DiskProjects Key = "disk.projects"
)

// row says what a key is.
type row struct {
	key  Key
	kind kind
	// usual is the value where no file has one.
	usual string
	// about says in Markdown what the setting does.
	about string
}

// rows is the table of all keys, in the order of the documentation.
func rows() []row {
	size := matching("a size in quotation marks, such as \"10GB\"", `(?i)[0-9]+(\.[0-9]+)? ?[kmgtp]?i?b?`)
	return []row{
		{NetworkDefault, oneOf("private", "host", "none"), "private",
			"the [network](network.md) of RUN steps, and of what `cooper run` runs, where no flag says another: `--network=default`"},
		{NetworkAllowHost, boolean(), "false",
			"whether steps that would have a private network have the host's, with a warning, where this machine can't make a " +
				"network namespace; otherwise they fail there"},
		{LimitsMemory, matching("a size in quotation marks, such as \"2g\"", `(?i)[0-9]+[bkmg]?b?`), "",
			"memory of each RUN step, and of what `cooper run` runs: the [limit](limits.md) `--memory`"},
		{LimitsCPUs, matching("a number in quotation marks, such as \"1.5\"", `[0-9]+(\.[0-9]+)?`), "",
			"processors' worth of time of each: `--cpus`"},
		{LimitsProcesses, matching("a number in quotation marks, such as \"500\"", `-1|[0-9]+`), "",
			"processes and threads of each: `--pids-limit`"},
		{LimitsTime, matching("a time in quotation marks, such as \"10m\"", `([0-9.]+(ms|s|m|h))+`), "",
			"time of each RUN step: `--step-timeout`"},
		{DiskMaxUsed, size, "",
			"the [limit](disk.md#a-limit-for-each-build) of disk space of each build: `--max-used-space`"},
		{DiskProjects, size.named(), "",
			"in the same way, the [shares](disk.md#shares-of-projects) of projects: the key of each is " +
				"a directory, and it counts what builds of contexts in it have made"},
	}
}

// kind is what values of a setting can be.
type kind struct {
	// what completes "must be", and stands in the documentation.
	what string
	// read gives the text of a value of a file, if it can be one.
	read func(value any) (text string, ok bool)
	// isTable says that the key is that of a table, in which names of the user's have such values.
	isTable bool
}

// named are values of the kind that have names of the user's.
func (k kind) named() kind {
	k.isTable = true
	return k
}

// oneOf is a string out of some.
func oneOf(words ...string) kind {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	last := len(quoted) - 1
	return kind{
		what: strings.Join(quoted[:last], ", ") + " or " + quoted[last],
		read: func(value any) (string, bool) {
			for _, w := range words {
				if value == w {
					return w, true
				}
			}
			return "", false
		},
	}
}

// matching is a string that an expression matches as a whole.
func matching(what, expression string) kind {
	return kind{what: what, read: func(value any) (string, bool) {
		text, is := value.(string)
		if !is {
			return "", false
		}
		whole, err := regexp.MatchString("^(?:"+expression+")$", text)
		return text, err == nil && whole
	}}
}

// boolean is true or false.
func boolean() kind {
	return kind{what: "true or false", read: func(value any) (string, bool) {
		b, ok := value.(bool)
		return fmt.Sprint(b), ok
	}}
}
