// Package shelf keeps what comes from elsewhere on disk, for later builds and other processes: entries that are made
// whole, locked while they are used, noted with the time of the last use, listed and removed.
//
// An entry that is held stays where it is until it is released; other processes share it, so nobody may change it. What
// killed processes leave is removed when the directory is opened.
package shelf
