package container

import (
	"path"
	"strings"
)

// DefaultPath is the PATH of a step that sets none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environ gives the step's environment: env, with HOME and PATH if it lacks them. Of a variable given twice the last
// stays.
func environ(env []string, home string) []string {
	last := map[string]int{}
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		last[name] = i
	}
	list := make([]string, 0, len(env)+2)
	for i, e := range env {
		name, _, hasValue := strings.Cut(e, "=")
		if name != "" && hasValue && last[name] == i {
			list = append(list, e)
		}
	}
	if _, ok := last["PATH"]; !ok {
		list = append(list, "PATH="+DefaultPath)
	}
	if _, ok := last["HOME"]; !ok {
		list = append(list, "HOME="+home)
	}
	return list
}

// Candidates gives the paths at which a program is looked for, in the order of execvp.
func Candidates(program string, env []string) []string {
	if strings.Contains(program, "/") {
		return []string{program}
	}
	search := ""
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			search = value
		}
	}
	var list []string
	for dir := range strings.SplitSeq(search, ":") {
		if dir == "" {
			dir = "."
		}
		// A relative directory stays relative, and is never mistaken for an absolute one.
		list = append(list, strings.TrimPrefix(path.Join(dir, program), "./"))
	}
	return list
}
