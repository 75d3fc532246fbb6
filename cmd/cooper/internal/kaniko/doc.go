// Package kaniko makes the arguments of kaniko's executor those of a build. It reads no files and builds nothing.
package kaniko
