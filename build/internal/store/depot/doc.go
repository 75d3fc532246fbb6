// Package depot opens a store with all packages that a build needs of it, in the order that is safe: first it removes
// the files of killed builds, then it repairs the damage of a crash, and only then the store is used.
package depot
