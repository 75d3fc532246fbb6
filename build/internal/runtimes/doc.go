// Package runtimes finds OCI runtimes, and looks at directories that are to keep what they are given.
package runtimes
