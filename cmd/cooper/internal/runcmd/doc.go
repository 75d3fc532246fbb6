// Package runcmd is cooper run: a command in a working container, or in an image to try it.
package runcmd
