// Package usage tells how much space trees of files take on disk, and what is given back when they are removed.
package usage
