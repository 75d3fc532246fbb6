package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// touchedBytes is more than what any contender of a row that writes much fills with new pages, the page cache included.
const touchedBytes = 3 << 30

// touchMemory uses and frees memory, so that what is measured next gets pages that the machine already has: in a
// virtual machine the first use of a page is the host's work, ten times dearer than the copy into it, and falls on
// whoever comes first.
func touchMemory() error {
	m, err := unix.Mmap(-1, 0, touchedBytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	return unix.Munmap(m)
}
