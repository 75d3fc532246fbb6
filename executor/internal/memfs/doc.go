// Package memfs makes the memory file system with the small files that a step sees: its /dev, files of name resolution,
// secrets, scripts and sockets. It knows no paths of the step but those in /dev; who mounts its files decides the rest.
package memfs
