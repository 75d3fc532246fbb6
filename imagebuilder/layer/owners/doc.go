// Package owners finds and translates the user and group IDs in a tree of files: owners, and the IDs in file
// capabilities and access control lists. It does so in place or in a copy.
package owners
