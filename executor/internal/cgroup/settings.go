package cgroup

import (
	"fmt"
	"math"
	"strconv"

	"github.com/cooperbuild/cooper/executor/step"
)

// setting is a line that is written to a file of a control group.
type setting struct {
	controller string
	file, text string
	// extra says that the limit holds well enough where the kernel lacks the file: swap may not be counted, say.
	extra bool
}

// none is a limit that isn't one, in files of version 2.
const none = "max"

// unified gives the settings in groups of version 2.
func unified(r step.Resources) (list []setting) {
	set := func(controller, file, text string, extra bool) {
		list = append(list, setting{controller, file, text, extra})
	}
	if r.Memory > 0 {
		set("memory", "memory.max", decimal(r.Memory), false)
		swap := none
		if total := r.Total(); total >= 0 {
			swap = decimal(max(0, total-r.Memory))
		}
		set("memory", "memory.swap.max", swap, true)
	}
	if r.Processes > 0 {
		set("pids", "pids.max", decimal(r.Processes), false)
	}
	if r.CPUQuota > 0 {
		set("cpu", "cpu.max", decimal(r.CPUQuota.Microseconds())+" "+decimal(r.Period().Microseconds()), false)
	}
	if r.CPUShares > 0 {
		set("cpu", "cpu.weight", strconv.FormatUint(weightOfShares(r.CPUShares), 10), false)
	}
	if r.CPUs != "" {
		set("cpuset", "cpuset.cpus", r.CPUs, false)
	}
	if r.Nodes != "" {
		set("cpuset", "cpuset.mems", r.Nodes, false)
	}
	if r.IOWeight > 0 {
		set("io", "io.weight", "default "+strconv.Itoa(1+(int(r.IOWeight)-10)*9999/990), false)
	}
	for _, l := range r.IORates {
		set("io", "io.max", fmt.Sprintf("%d:%d %s=%d", l.Major, l.Minor, rateName(l), l.Rate), false)
	}
	return list
}

// rateName is what version 2 calls the limit.
func rateName(l step.IORate) string {
	name := "r"
	if l.Write {
		name = "w"
	}
	if l.Operations {
		return name + "iops"
	}
	return name + "bps"
}

// weightOfShares turns shares, of which 1024 are usual, into a weight, of which 100 is: OCI runtimes do it by the same
// curve.
func weightOfShares(shares uint64) uint64 {
	l := math.Log2(float64(min(max(shares, 2), 262144)))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// legacy gives the settings in groups of version 1.
func legacy(r step.Resources) (list []setting) {
	set := func(controller, file, text string, extra bool) {
		list = append(list, setting{controller, file, text, extra})
	}
	if r.Memory > 0 {
		set("memory", "memory.limit_in_bytes", decimal(r.Memory), false)
		set("memory", "memory.memsw.limit_in_bytes", decimal(max(r.Total(), -1)), true)
	}
	if r.Processes > 0 {
		set("pids", "pids.max", decimal(r.Processes), false)
	}
	if r.CPUQuota > 0 {
		set("cpu", "cpu.cfs_period_us", decimal(r.Period().Microseconds()), false)
		set("cpu", "cpu.cfs_quota_us", decimal(r.CPUQuota.Microseconds()), false)
	}
	if r.CPUShares > 0 {
		set("cpu", "cpu.shares", strconv.FormatUint(r.CPUShares, 10), false)
	}
	if r.CPUs != "" {
		set("cpuset", "cpuset.cpus", r.CPUs, false)
	}
	if r.Nodes != "" {
		set("cpuset", "cpuset.mems", r.Nodes, false)
	}
	if r.IOWeight > 0 {
		set("blkio", "blkio.bfq.weight", strconv.Itoa(int(r.IOWeight)), false)
	}
	for _, l := range r.IORates {
		set("blkio", legacyRateFile(l), fmt.Sprintf("%d:%d %d", l.Major, l.Minor, l.Rate), false)
	}
	return list
}

// legacyRateFile is the file of version 1 that has the limit.
func legacyRateFile(l step.IORate) string {
	what, unit := "read", "bps"
	if l.Write {
		what = "write"
	}
	if l.Operations {
		unit = "iops"
	}
	return "blkio.throttle." + what + "_" + unit + "_device"
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
