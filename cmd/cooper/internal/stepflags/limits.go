package stepflags

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/settings"
)

// Limits are the flags about what each command may take, as they are written. An empty text is no limit.
type Limits struct {
	Memory, MemorySwap                     string
	CPUs, CPUShares, CPUQuota, CPUPeriod   string
	CPUSetCPUs, CPUSetMems                 string
	PIDs, BlkioWeight, CgroupParent        string
	readBPS, writeBPS, readIOPS, writeIOPS []string
	resources                              []string
	timeout                                time.Duration
	logLimits                              []string
}

// register adds the flags, which are about whose commands.
func (l *Limits) register(f *pflag.FlagSet, whose string) {
	each := "each of " + whose
	if whose == "the command" {
		each = whose
	}
	f.StringVarP(&l.Memory, "memory", "m", "", "memory that "+each+" may take, such as 512m")
	f.StringVar(&l.MemorySwap, "memory-swap", "", "memory and swap together, or -1 for any (default twice --memory)")
	f.StringVar(&l.CPUs, "cpus", "", "processors' worth of time that "+each+" may take, such as 1.5")
	f.StringVarP(&l.CPUShares, "cpu-shares", "c", "",
		"share of processors that others want, too, for "+each+"; 1024 is usual")
	f.StringVar(&l.CPUQuota, "cpu-quota", "", "microseconds of processor time that "+each+" may take in a --cpu-period")
	f.StringVar(&l.CPUPeriod, "cpu-period", "", "microseconds (default 100000)")
	f.StringVar(&l.CPUSetCPUs, "cpuset-cpus", "", "processors for "+whose+", such as 0-3,5")
	f.StringVar(&l.CPUSetMems, "cpuset-mems", "", "memory nodes for "+whose+", such as 0")
	f.StringVar(&l.PIDs, "pids-limit", "",
		"processes and threads that "+each+" may have; -1: any (default 32768, or half of what the user may have)")
	f.StringVar(&l.BlkioWeight, "blkio-weight", "", "share of disks that others want, too, for "+each+": 10 to 1000")
	f.StringArrayVar(&l.readBPS, "device-read-bps", nil, "bytes that "+each+" may read in a second, DEVICE:SIZE")
	f.StringArrayVar(&l.writeBPS, "device-write-bps", nil, "bytes that "+each+" may write in a second, DEVICE:SIZE")
	f.StringArrayVar(&l.readIOPS, "device-read-iops", nil, "reads that "+each+" may do in a second, DEVICE:NUMBER")
	f.StringArrayVar(&l.writeIOPS, "device-write-iops", nil, "writes that "+each+" may do in a second, DEVICE:NUMBER")
	f.StringVar(&l.CgroupParent, "cgroup-parent", "",
		"control group below which "+each+" gets its own: a path in the tree of groups, or NAME.slice")
}

// registerSteps adds the flags that only steps of a build have.
func (l *Limits) registerSteps(f *pflag.FlagSet) {
	f.StringArrayVar(&l.resources, "resource", nil,
		"limit of each RUN step as buildx writes it: memory=SIZE, memory-swap=, cpu-shares=, cpu-quota=, cpu-period=, "+
			"cpuset-cpus=, cpuset-mems=")
	f.DurationVar(&l.timeout, "step-timeout", 0, "time that a RUN step may take, such as 10m (default: any)")
	f.StringSliceVar(&l.logLimits, "log-limit", nil,
		"output of each RUN step that is shown: SIZE in all, or SIZE/s; the rest is left out "+
			"(default $BUILDKIT_STEP_LOG_MAX_SIZE and $BUILDKIT_STEP_LOG_MAX_SPEED, or else any)")
}

// isNone says that a text stands for no limit.
func isNone(text string) bool { return text == "" || text == "0" }

// limit sets the limits of the steps.
func (r *Run) limit(o *build.RunOptions) error {
	l := r.Takes
	if err := l.takeResources(); err != nil {
		return err
	}
	if err := l.takeSettings(); err != nil {
		return err
	}
	for _, do := range []func(*build.Resources) error{l.memory, l.processors, l.processes, l.disks} {
		if err := do(&o.Resources); err != nil {
			return err
		}
	}
	o.Resources.Parent = l.CgroupParent
	if slices.Contains(strings.Split(l.CgroupParent, "/"), "..") {
		return fmt.Errorf("--cgroup-parent=%s: must not have .. in it", l.CgroupParent)
	}
	if l.timeout < 0 {
		return fmt.Errorf("--step-timeout=%s: must not be negative", l.timeout)
	}
	o.StepTimeout = l.timeout
	return l.output(o)
}

// takeSettings sets the limits that cooper.toml has and no flag says.
func (l *Limits) takeSettings() error {
	set, err := command.Settings()
	if err != nil {
		return err
	}
	if l.Memory == "" {
		l.Memory = set.Text(settings.LimitsMemory)
	}
	if l.CPUs == "" && l.CPUQuota == "" {
		l.CPUs = set.Text(settings.LimitsCPUs)
	}
	if l.PIDs == "" {
		l.PIDs = set.Text(settings.LimitsProcesses)
	}
	if text := set.Text(settings.LimitsTime); l.timeout == 0 && text != "" {
		if l.timeout, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%s in cooper.toml: %w", settings.LimitsTime, err)
		}
	}
	return nil
}

// takeResources reads --resource, which has the words of other flags.
func (l *Limits) takeResources() error {
	fields := map[string]*string{"memory": &l.Memory, "memory-swap": &l.MemorySwap, "cpu-shares": &l.CPUShares,
		"cpu-period": &l.CPUPeriod, "cpu-quota": &l.CPUQuota, "cpuset-cpus": &l.CPUSetCPUs, "cpuset-mems": &l.CPUSetMems}
	for _, text := range l.resources {
		name, value, ok := strings.Cut(text, "=")
		field := fields[name]
		if !ok || field == nil {
			return fmt.Errorf("--resource %s: must be memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus or "+
				"cpuset-mems, with =VALUE", text)
		}
		*field = value
	}
	return nil
}

func (l *Limits) memory(r *build.Resources) (err error) {
	if !isNone(l.Memory) {
		if r.Memory, err = ParseSize(l.Memory); err != nil {
			return fmt.Errorf("--memory=%s: %w", l.Memory, err)
		}
	}
	switch {
	case isNone(l.MemorySwap):
		return nil
	case r.Memory == 0 && l.MemorySwap == "-1":
		return nil
	case r.Memory == 0:
		return fmt.Errorf("--memory-swap=%s: is memory and swap together, and needs --memory", l.MemorySwap)
	case l.MemorySwap == "-1":
		r.Swap = -1
		return nil
	}
	if r.Swap, err = ParseSize(l.MemorySwap); err != nil {
		return fmt.Errorf("--memory-swap=%s: %w", l.MemorySwap, err)
	}
	if r.Swap < r.Memory {
		return fmt.Errorf("--memory-swap=%s: is memory and swap together, and must not be less than --memory=%s",
			l.MemorySwap, l.Memory)
	}
	return nil
}

// The least and the most that the kernel takes for processors, in microseconds.
const (
	leastQuota, leastPeriod, mostPeriod = 1000, 1000, 1000000
)

func (l *Limits) processors(r *build.Resources) error {
	period, err := number("--cpu-period", l.CPUPeriod, leastPeriod, mostPeriod)
	if err != nil {
		return err
	}
	r.CPUPeriod = time.Duration(period) * time.Microsecond
	if l.CPUQuota != "-1" {
		quota, err := number("--cpu-quota", l.CPUQuota, leastQuota, math.MaxInt32)
		if err != nil {
			return err
		}
		r.CPUQuota = time.Duration(quota) * time.Microsecond
	}
	shares, err := number("--cpu-shares", l.CPUShares, 2, 262144)
	if err != nil {
		return err
	}
	r.CPUShares = uint64(shares)
	if err := l.cpus(r); err != nil {
		return err
	}
	r.CPUs, r.Nodes = l.CPUSetCPUs, l.CPUSetMems
	return nil
}

// cpus reads --cpus, which is a quota.
func (l *Limits) cpus(r *build.Resources) error {
	if isNone(l.CPUs) {
		return nil
	}
	cpus, err := strconv.ParseFloat(l.CPUs, 64)
	switch {
	case err != nil || !(cpus >= 0.01) || cpus > 8192:
		return fmt.Errorf("--cpus=%s: must be a number of processors from 0.01 on, such as 1.5", l.CPUs)
	case r.CPUQuota != 0:
		return fmt.Errorf("--cpus=%s and --cpu-quota=%s say the same: give one of them", l.CPUs, l.CPUQuota)
	}
	r.CPUQuota = time.Duration(cpus * float64(r.Period()))
	return nil
}

func (l *Limits) processes(r *build.Resources) error {
	if l.PIDs == "-1" || l.PIDs == "unlimited" {
		r.Processes = -1
		return nil
	}
	n, err := number("--pids-limit", l.PIDs, 1, 1<<22)
	r.Processes = n
	return err
}

func (l *Limits) disks(r *build.Resources) error {
	weight, err := number("--blkio-weight", l.BlkioWeight, 10, 1000)
	if err != nil {
		return err
	}
	r.IOWeight = uint16(weight)
	for _, f := range []struct {
		name  string
		given []string
		rate  build.IORate
	}{
		{"--device-read-bps", l.readBPS, build.IORate{}},
		{"--device-write-bps", l.writeBPS, build.IORate{Write: true}},
		{"--device-read-iops", l.readIOPS, build.IORate{Operations: true}},
		{"--device-write-iops", l.writeIOPS, build.IORate{Write: true, Operations: true}},
	} {
		for _, text := range f.given {
			rate, err := rateOf(text, f.rate)
			if err != nil {
				return fmt.Errorf("%s %s: %w", f.name, text, err)
			}
			r.IORates = append(r.IORates, rate)
		}
	}
	return nil
}

// rateOf reads DEVICE:SIZE or DEVICE:NUMBER.
func rateOf(text string, rate build.IORate) (build.IORate, error) {
	n := strings.LastIndexByte(text, ':')
	if n <= 0 {
		return rate, fmt.Errorf("must be DEVICE:LIMIT, such as /dev/sda:1m")
	}
	rate.Device = text[:n]
	value, err := ParseSize(text[n+1:])
	if err != nil {
		return rate, err
	}
	rate.Rate = uint64(value)
	var st unix.Stat_t
	if err := unix.Stat(rate.Device, &st); err != nil {
		return rate, &os.PathError{Op: "find", Path: rate.Device, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return rate, fmt.Errorf("%s is no block device", rate.Device)
	}
	rate.Major, rate.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	return rate, nil
}

// number reads the value of a flag, a whole number between two others; none is 0.
func number(flag, text string, least, most int64) (int64, error) {
	if isNone(text) {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s=%s: must be a whole number from %d to %d, or 0 for no limit", flag, text, least, most)
	}
	return n, nil
}

// output reads --log-limit, or what stands for it.
func (l *Limits) output(o *build.RunOptions) error {
	for _, v := range []struct {
		name string
		to   *int64
	}{{"BUILDKIT_STEP_LOG_MAX_SIZE", &o.LogLimit.Size}, {"BUILDKIT_STEP_LOG_MAX_SPEED", &o.LogLimit.Speed}} {
		text := os.Getenv(v.name)
		if text == "" || text == "-1" { // BuildKit's word for any
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 {
			return fmt.Errorf("%s=%s: must be a number of bytes, or -1 for any", v.name, text)
		}
		*v.to = n
	}
	for _, text := range l.logLimits {
		size, perSecond := strings.CutSuffix(text, "/s")
		to := &o.LogLimit.Size
		if perSecond {
			to = &o.LogLimit.Speed
		}
		if size == "-1" {
			*to = 0
			continue
		}
		n, err := ParseSize(size)
		if err != nil || n == 0 {
			return fmt.Errorf("--log-limit=%s: must be a size, such as 2m, or a size a second, such as 200k/s", text)
		}
		*to = n
	}
	return nil
}
