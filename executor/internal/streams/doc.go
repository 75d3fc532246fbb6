// Package streams has the standard streams of a step: files that are handed to it, and pipes that are copied to
// writers.
package streams
