// Package objects keeps blobs by their digests, and one text that can change, in stores that speak HTTP: plain ones
// such as bazel-remote, S3, and the cache service of GitHub Actions.
//
// A store says whether it has a blob, gets it and puts it. The head is what a place begins with: who has it finds
// everything else by digests. A writer gives back the mark that the head had when it was read, and a store that can
// compare refuses to replace a head that another writer has replaced meanwhile ([ErrChanged]). One that can't compare
// takes the last writer's: whoever writes looks once more.
//
// # Trust
//
// A store is hostile. What it sends is bounded by whoever reads it, redirects are few and never from HTTPS to HTTP, and
// what it says of an error is clipped and has its control characters replaced. Addresses that carry a signature or a
// password are in no error.
//
// # Patience
//
// A request that brings or takes nothing for half a minute is given up. What fails for a reason that may pass (a
// connection that breaks, 408, 429, 5xx) is tried three times in all.
package objects
