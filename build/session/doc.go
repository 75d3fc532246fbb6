// Package session has what many builds in one process share: the open store, how registries are reached, and who
// calls.
//
// A store that is opened twice in one process loses its locks, so a process has one session for each store. It opens
// the store when that is first needed, once: what only looks at a Dockerfile needs none. Many builds may use a session
// at once.
package session
