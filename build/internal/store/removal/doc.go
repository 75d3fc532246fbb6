// Package removal lists what a store holds on disk and gives it back.
//
// What has a name, what other tools have made and what a running build uses stays. A layer that is to go is first
// marked and held by an image that nobody knows, in one moment in which nothing is used anew; then it is removed, which
// may take long. Whoever is killed in between leaves nothing that the next one would take for whole.
package removal
