// Package idranges gives each build ranges of IDs that no other build with the same store has at the time, and no
// container of it. They are free again when the process ends, whatever its end.
package idranges
