package step

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Unlimited is the value that means no limit.
const Unlimited = ^uint64(0)

// A Limit is a resource limit of the command, setrlimit(2).
type Limit struct {
	Name       string // as in ulimit(1) and container engines: "nofile"
	Soft, Hard uint64 // in the unit that setrlimit(2) gives the resource: bytes, seconds, files...; Unlimited: no limit
}

// noCore is the largest file that core dumps may make, in bytes. It is too small for one; and a program that the
// machine pipes dumps to, which would keep a step's memory, secrets too, outside of it, isn't started for this value
// (core(5)). For 0 it is.
const noCore = 1

// AllLimits gives the limits of the step: its own, and that it dumps no core, unless its own say how large one may be.
func (s Step) AllLimits() []Limit {
	if slices.ContainsFunc(s.Limits, func(l Limit) bool { return l.Name == "core" }) {
		return s.Limits
	}
	most := uint64(noCore)
	var have unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &have) == nil {
		most = min(most, have.Max) // only real root may raise it
	}
	return append(slices.Clip(s.Limits), Limit{Name: "core", Soft: most, Hard: most})
}

// LimitNumbers are the RLIMIT_ numbers of the generic ABI, which amd64 and arm64 share.
func LimitNumbers() map[string]int {
	return map[string]int{
		"cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8, "as": 9,
		"locks":      10,
		"sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
	}
}

// ParseLimit reads NAME=SOFT[:HARD]; -1 and unlimited mean no limit. Without HARD the hard limit is SOFT.
func ParseLimit(text string) (Limit, error) {
	name, values, ok := strings.Cut(text, "=")
	if _, known := LimitNumbers()[name]; !known {
		return Limit{}, fmt.Errorf("there is no limit %q: the limits are %s", name,
			strings.Join(slices.Sorted(maps.Keys(LimitNumbers())), ", "))
	}
	soft, hard, both := strings.Cut(values, ":")
	if !both {
		hard = soft
	}
	l := Limit{Name: name}
	var softOK, hardOK bool
	l.Soft, softOK = parseLimitValue(soft)
	l.Hard, hardOK = parseLimitValue(hard)
	switch {
	case !ok || !softOK || !hardOK:
		return Limit{}, fmt.Errorf("limit %q: must be NAME=SOFT[:HARD] with numbers, or -1 for no limit", text)
	case l.Soft > l.Hard:
		return Limit{}, fmt.Errorf("limit %q: the soft limit is above the hard one", text)
	}
	return l, nil
}

func parseLimitValue(text string) (uint64, bool) {
	if text == "-1" || text == "unlimited" {
		return Unlimited, true
	}
	n, err := strconv.ParseUint(text, 10, 63)
	return n, err == nil
}

func (l Limit) String() string {
	show := func(v uint64) string {
		if v == Unlimited {
			return "-1"
		}
		return strconv.FormatUint(v, 10)
	}
	return fmt.Sprintf("%s=%s:%s", l.Name, show(l.Soft), show(l.Hard))
}
