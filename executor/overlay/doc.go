// Package overlay makes detached overlay mounts: file systems that are reached through a descriptor and appear in no
// mount table. Closing the descriptor unmounts them, and so does the end of the process, however it ends.
package overlay
