// Package session holds what the builds in one process share: the open store, the settings for registries, and the
// identity of the caller.
//
// A store that is opened twice in one process loses its locks, so a process has one session for each store. It opens
// the store when that is first needed, once: code that only looks at a Dockerfile needs none. Many builds may use a
// session at once.
package session
