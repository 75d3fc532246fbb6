package userns

import (
	"errors"
	"fmt"
)

// ErrBadRequest means that the user asked for a mode or a map that can't be: a mistake on the command line.
var ErrBadRequest = errors.New("not a possible user namespace")

// RequestError is one such mistake. It matches [ErrBadRequest], and what Err matches.
type RequestError struct {
	Option  string // such as "--userns"
	Value   string // its value; "" when the mistake is not in one value
	Problem string
	Err     error // the cause, if there is one beyond Problem
}

func (e *RequestError) Error() string {
	text := e.Option
	if e.Value != "" {
		text += "=" + e.Value
	}
	if e.Problem != "" {
		text += ": " + e.Problem
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Is makes the error match [ErrBadRequest].
func (e *RequestError) Is(target error) bool { return target == ErrBadRequest }

// Unwrap gives the cause.
func (e *RequestError) Unwrap() error { return e.Err }

func badMode(text, problem string) error {
	return &RequestError{Option: "--userns", Value: text, Problem: problem}
}

// Caller is who asks, and with which IDs.
type Caller struct {
	Root     bool   // real root of the machine: host IDs are intermediate IDs
	UID, GID uint32 // the caller's own host IDs
	// an ordinary user's first namespace, intermediate IDs to host IDs, as [Default] gives it; not for root
	Outer  Mapping
	Inside bool   // Outer is the namespace that this process is in
	Sub    SubIDs // root's ranges for steps and for auto, host IDs; may be empty; not for an ordinary user
}

// Request is what a user asks for. Without anything but a Caller it is the default.
type Request struct {
	Caller  Caller
	Mode    Mode
	UIDMaps []MapFlag // --uidmap, in their order
	GIDMaps []MapFlag // --gidmap, in their order
	Named   *SubIDs   // the ranges, host IDs, of the names that --subuidname and --subgidname give; nil without them
}

// Resolved says which namespaces there will be.
type Resolved struct {
	Mode Mode
	// Outer maps intermediate IDs (its container side) to host IDs. For root the two are the same.
	Outer Mapping
	// Second maps container IDs to intermediate IDs. nil: there is no second namespace, or Auto or NSPath say which.
	Second *Mapping
	// Auto is for [ModeAuto]: what [AutoOptions.Allocate] needs besides the image and what is in use. nil in other modes.
	Auto *AutoOptions
	// NSPath is for [ModeNS]: the user namespace to join.
	NSPath string
}

// Composed gives the map of container IDs to host IDs. In the modes [ModeAuto] and [ModeNS] it is not known before
// Second is.
func (r Resolved) Composed() (Mapping, error) {
	if r.Second == nil {
		if r.Auto != nil || r.NSPath != "" {
			return Mapping{}, fmt.Errorf("compose maps of --userns=%s: the second map is not known yet", r.Mode)
		}
		return r.Outer, nil
	}
	return r.Second.Compose(r.Outer)
}
