// Package uses records which things of a store are used, so that unused ones can be removed.
//
// Whatever cooper may give back has a note in DIR/uses/KIND/NAME: its modification time is the last use, and its text
// says how large the thing is, who made it and what people call it. What was used since the oldest running build began
// stays. Three locks of files keep the promise between processes:
//
//   - uses.lock is held shared to record a use and exclusively to decide on a removal, both for moments;
//   - removal.lock is held by the one process that removes, for as long as it does;
//   - a file in DIR/builds is held by each build for as long as it runs.
//
// The kernel releases them when their process ends, and waiting for one can be interrupted.
//
// The package knows of names and times alone: it neither looks at the things nor removes them.
package uses
