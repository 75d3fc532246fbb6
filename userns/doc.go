// Package userns is the arithmetic of user namespaces: ID maps, the subordinate
// ID ranges they are made from, and the errors that say which of them is missing.
//
// Two ID spaces appear everywhere. A container ID is the number a process inside
// the namespace sees and a layer records; a host ID is the number outside, the
// owner on disk. A [Map] is an exact, partial bijection between the two. An ID
// that it leaves out is an error ([UnmappedError]), never silently the overflow
// ID 65534 and never 0, so for every mapped id
//
//	toContainer(toHost(id)) == id
//
// With a second namespace nested in the first there is a third space between them:
// intermediate IDs, which are container IDs of the first and host IDs of the second.
// [Resolve] gives the second map for a [Mode] and [MapFlag]s, [Map.Compose] the map
// through both, [AutoOptions.Allocate] a range that nothing else uses.
//
// The package is pure but for two things. [Finder] reads /etc/subuid and /etc/subgid
// (subuid(5), subgid(5)) or asks getsubids(1) when nsswitch.conf says that the
// ranges live elsewhere. [ThisProcess] finds out which user runs this process, in which namespace
// and what is allowed there, and [ReadMapping] reads the maps of another process; all other
// packages ask these two. Entering a namespace is the job of package reexec.
//
// Every error about ranges that are absent or too short ends with the command
// that puts it right.
//
// One room: maps need ranges ([FromSubIDs]), ranges need maps ([Finder.UserMap], [Finder.Check]), and the maps of what
// users ask for are cut, inverted and merged by functions that nobody outside needs: parted, ten of them would have to
// be exported, and the ranges would still need the maps and the maps the ranges.
package userns
