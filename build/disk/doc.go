// Package disk says what of that which is kept on disk goes first. It is pure: [Choose] works on a list of items, with
// their sizes, last uses and what keeps them, and those who keep the files make such lists and carry out what was
// chosen.
package disk
