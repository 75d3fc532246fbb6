// Package reclaim gives disk space back: it knows who keeps files in a store (the store itself, the cache's records,
// the remote sources), measures what they hold, removes what a policy chooses and watches over a limit while a build
// runs.
//
// Items that running builds use are never removed. Sizes are bytes as allocated on disk.
package reclaim
