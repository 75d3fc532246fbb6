// Package shared keeps the results of steps where other machines find them: in a repository of a registry or in a
// directory.
//
// A place holds one artifact: a manifest whose config is the index of all records (package index), and whose layers are
// the blobs that the records name, so that a registry's clean-up leaves them alone. The index is read once in a build,
// however many steps are looked up in it. A record names what a step has made by digests only, never by IDs of one
// store, and its key is the one of package cache, which has nothing of the machine in it.
//
// Whoever writes adds to what is there: it reads the index, adds its own records, writes all of it, and looks once more
// whether another writer has replaced it meanwhile.
//
// A place is trusted as far as who writes to it: a record says what a step has made, and nobody can check that without
// running the step. All blobs are verified by their digests, and the layers by their diff IDs. A place that is away,
// too slow or damaged costs a warning, and the steps are run.
package shared
