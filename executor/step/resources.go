package step

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Resources are limits of what all processes of a step may take together. The zero value of a field is no limit.
type Resources struct {
	Memory int64 // bytes
	// Swap holds bytes of memory and swap together; -1: no limit; 0: twice Memory. It counts only with Memory.
	Swap int64

	CPUQuota  time.Duration // processor time that the step may take in each CPUPeriod
	CPUPeriod time.Duration // 0: 100 ms
	CPUShares uint64        // share of the processors that others want, too: 2 to 262144; 1024 is the usual one

	CPUs  string // processors that the step may use, as 0-3,5
	Nodes string // NUMA nodes that it may have memory of, as CPUs

	Processes int64 // processes and threads; -1: not even the usual limit

	IOWeight uint16 // share of the disks that others want, too: 10 to 1000
	IORates  []IORate

	// Parent is the control group below which the step's is made: an absolute path in the tree of groups, a path relative
	// to the caller's group, or NAME.slice, which is systemd's.
	Parent string
}

// IORate is a limit of what a step reads from or writes to one block device in a second.
type IORate struct {
	Device       string // path of the device, for messages
	Major, Minor uint32
	Write        bool   // what is written is limited; false: what is read
	Operations   bool   // Rate counts operations; false: bytes
	Rate         uint64 // in a second
}

// Any says that there is a limit, the usual one of processes apart.
func (r Resources) Any() bool {
	return r.Memory != 0 || r.CPUQuota != 0 || r.CPUShares != 0 || r.CPUs != "" || r.Nodes != "" || r.Processes > 0 ||
		r.IOWeight != 0 || len(r.IORates) > 0 || r.Parent != ""
}

// Period is the period of CPUQuota.
func (r Resources) Period() time.Duration {
	if r.CPUPeriod == 0 {
		return 100 * time.Millisecond
	}
	return r.CPUPeriod
}

// Total is the limit of memory and swap together in bytes; -1: none.
func (r Resources) Total() int64 {
	if r.Swap == 0 {
		return 2 * r.Memory
	}
	return r.Swap
}

// Usage is what a step has taken.
type Usage struct {
	// Memory is how many bytes the step had in memory at most: of all its processes together if it was in a control group
	// or watched, and else of the largest of them, which is at least what the caller has, since the first process is
	// cloned from it.
	Memory int64
	CPU    time.Duration // processor time of all its processes that were reaped
	Read   int64         // bytes read from disks
	Wrote  int64         // bytes written to disks, or on their way there
}

// A Limited resource is one whose limit a step has met.
type Limited string

// What can be limited.
const (
	MemoryLimited    Limited = "memory"
	ProcessesLimited Limited = "processes"
)

// maxCPU is the highest number of a processor that the kernel's set of them has.
const maxCPU = 1023

// ParseCPUs reads a list of numbers and ranges of processors or memory nodes, such as 0-3,5.
func ParseCPUs(text string) (list []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 16)
		last, lastErr := strconv.ParseUint(high, 10, 16)
		if err != nil || lastErr != nil || first > last || last > maxCPU {
			return nil, fmt.Errorf("list %q: must be numbers and ranges from 0 to %d, such as 0-3,5", text, maxCPU)
		}
		for n := first; n <= last; n++ {
			list = append(list, int(n))
		}
	}
	return list, nil
}
