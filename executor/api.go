package executor

import (
	"context"
	"os"

	"github.com/cooperbuild/cooper/executor/internal/script"
	"github.com/cooperbuild/cooper/executor/internal/seccomp"
	"github.com/cooperbuild/cooper/executor/step"
)

// What a step consists of.
type (
	// Step is that of package step.
	Step = step.Step
	// Rootfs is that of package step.
	Rootfs = step.Rootfs
	// Mount is that of package step.
	Mount = step.Mount
	// MountKind is that of package step.
	MountKind = step.MountKind
	// File is that of package step.
	File = step.File
	// Socket is that of package step.
	Socket = step.Socket
	// DNS is that of package step.
	DNS = step.DNS
	// Security is that of package step.
	Security = step.Security
	// Caps is that of package step.
	Caps = step.Caps
	// Filter is a system call filter.
	Filter = seccomp.Filter
	// Limit is that of package step.
	Limit = step.Limit
	// Namespace is that of package step.
	Namespace = step.Namespace
	// Namespaces is that of package step.
	Namespaces = step.Namespaces
	// Hosts is that of package step.
	Hosts = step.Hosts
	// Hook is that of package step.
	Hook = step.Hook
	// Resources is that of package step.
	Resources = step.Resources
	// IORate is that of package step.
	IORate = step.IORate
	// Groups is that of package step.
	Groups = step.Groups
	// Usage is that of package step.
	Usage = step.Usage
	// Limited is that of package step.
	Limited = step.Limited
	// Runtime is that of package step.
	Runtime = step.Runtime
	// User is that of package step.
	User = step.User
	// Stop is that of package step.
	Stop = step.Stop
	// Status is that of package step.
	Status = step.Status
	// StartError is that of package step.
	StartError = step.StartError
	// SetupError is that of package step.
	SetupError = step.SetupError
)

// NetworkPrivate is that of package step.
const NetworkPrivate = step.NetworkPrivate

// The kinds of mounts, sets of capabilities and the limit that is none.
const (
	Bind        = step.Bind
	Tmpfs       = step.Tmpfs
	Device      = step.Device
	DefaultCaps = step.DefaultCaps
	Unlimited   = step.Unlimited

	MemoryLimited    = step.MemoryLimited
	ProcessesLimited = step.ProcessesLimited
)

// The errors of Run, FindRuntime and LookupUser.
var (
	ErrNoArgs       = step.ErrNoArgs
	ErrNoCwd        = step.ErrNoCwd
	ErrHiddenProc   = step.ErrHiddenProc
	ErrStillWritten = step.ErrStillWritten
	ErrNoRuntime    = step.ErrNoRuntime
	ErrNotRuntime   = step.ErrNotRuntime
	ErrUnknownUser  = step.ErrUnknownUser
	ErrUnknownGroup = step.ErrUnknownGroup
)

// ParseCaps is that of package step.
func ParseCaps(names []string) (Caps, error) { return step.ParseCaps(names) }

// NewFilter is that of package step.
func NewFilter(profile []byte, caps *Caps) (*Filter, error) { return step.NewFilter(profile, caps) }

// MaxProfile is how many bytes a profile for NewFilter may have.
const MaxProfile = seccomp.MaxProfile

// ParseLimit is that of package step.
func ParseLimit(text string) (Limit, error) { return step.ParseLimit(text) }

// LookupUser is that of package step.
func LookupUser(root *os.File, spec string) (User, error) { return step.LookupUser(root, spec) }

// RuntimeNames is that of package step.
func RuntimeNames() []string { return step.RuntimeNames() }

// FindRuntime is that of package step.
func FindRuntime(ctx context.Context, name string) (Runtime, error) {
	return step.FindRuntime(ctx, name)
}

// ScopesSockets says whether this kernel can keep steps that have the caller's network from the caller's abstract Unix
// sockets. Err is what it answers where it can't: EOPNOTSUPP if landlock is switched off, ENOSYS if there is none, and
// nil if it is too old.
func ScopesSockets() (ok bool, err error) { return script.ScopesSockets() }
