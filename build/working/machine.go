package working

import (
	"bufio"
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store/containers"
	"github.com/cooperbuild/cooper/build/session"
)

// Machine is what buildah info tells of a machine and its store, with buildah's names.
type Machine struct {
	Host  Host  `json:"host"`
	Store Store `json:"store"`
}

// Host is the machine. Sizes are in bytes.
type Host struct {
	CgroupVersion string       `json:"CgroupVersion"`
	Distribution  Distribution `json:"Distribution"`
	MemFree       uint64       `json:"MemFree"`
	MemTotal      uint64       `json:"MemTotal"`
	OCIRuntime    string       `json:"OCIRuntime"`
	SwapFree      uint64       `json:"SwapFree"`
	SwapTotal     uint64       `json:"SwapTotal"`
	Arch          string       `json:"arch"`
	CPUs          int          `json:"cpus"`
	Hostname      string       `json:"hostname"`
	Kernel        string       `json:"kernel"`
	OS            string       `json:"os"`
	Rootless      bool         `json:"rootless"`
	Variant       string       `json:"variant"`
}

// Distribution is the name and the version of the machine's system.
type Distribution struct {
	Distribution string `json:"distribution"`
	Version      string `json:"version"`
}

// Store is the image store.
type Store struct {
	ContainerStore  Number `json:"ContainerStore"`
	GraphDriverName string `json:"GraphDriverName"`
	GraphRoot       string `json:"GraphRoot"`
	ImageStore      Number `json:"ImageStore"`
	RunRoot         string `json:"RunRoot"`
}

// Number counts things.
type Number struct {
	Number int `json:"number"`
}

// Look looks at the machine and the store.
func Look(ctx context.Context, s *session.Session) (Machine, error) {
	d, err := s.Depot(ctx)
	if err != nil {
		return Machine{}, err
	}
	caller, err := s.Caller()
	if err != nil {
		return Machine{}, err
	}
	all, err := containers.New(d.Store).List()
	if err != nil {
		return Machine{}, err
	}
	list, err := d.Images.List()
	if err != nil {
		return Machine{}, err
	}
	shown := 0
	for _, i := range list {
		if !i.Cached {
			shown++
		}
	}
	m := Machine{Host: host(), Store: Store{
		ContainerStore: Number{len(all)}, ImageStore: Number{shown}, GraphDriverName: d.Store.Driver(),
		GraphRoot: d.Store.Paths().Root, RunRoot: d.Store.RunRoot(),
	}}
	m.Host.Rootless = !caller.Initial
	return m, nil
}

func host() Host {
	h := Host{Arch: runtime.GOARCH, OS: runtime.GOOS, CPUs: runtime.NumCPU(), CgroupVersion: "v1",
		OCIRuntime: "cooper", Variant: MachinePlatform().Variant, Distribution: distribution()}
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		h.CgroupVersion = "v2"
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Hostname, h.Kernel = unix.ByteSliceToString(name.Nodename[:]), unix.ByteSliceToString(name.Release[:])
	}
	for key, to := range map[string]*uint64{"MemTotal": &h.MemTotal, "MemFree": &h.MemFree, "SwapTotal": &h.SwapTotal,
		"SwapFree": &h.SwapFree} {
		kib, err := strconv.ParseUint(strings.TrimSuffix(value("/proc/meminfo", key, ":"), " kB"), 10, 64)
		if err == nil {
			*to = kib << 10
		}
	}
	return h
}

func distribution() Distribution {
	const file = "/etc/os-release"
	unquoted := func(key string) string { return strings.Trim(value(file, key, "="), `"'`) }
	return Distribution{Distribution: unquoted("ID"), Version: unquoted("VERSION_ID")}
}

// value is what a file of lines has for a key, "" if it has nothing.
func value(file, key, separator string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), separator); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
