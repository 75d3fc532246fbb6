// Package reading reads the files that a step wrote, and tells people how far it has come and which files are larger
// than what is in them.
package reading
