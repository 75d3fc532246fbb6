// Package emulator has what executes programs of other architectures: which ones a machine executes anyway, where a
// static emulator lies, and how the kernel is told about one in a user namespace alone.
package emulator
