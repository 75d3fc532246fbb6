// Package uses writes down what is used of a store, so that what nobody uses can be given back.
//
// Whatever cooper may give back has a note in DIR/uses/KIND/NAME: its modification time is the last use, and its text
// says how large the thing is, who made it and what people call it. What was used since the oldest running build began
// stays. Three locks of files keep the promise between processes:
//
//   - uses.lock is held shared by who uses something and exclusively by who decides to remove it, both for moments;
//   - removal.lock is held by the one process that removes, for as long as it does;
//   - a file in DIR/builds is held by each build for as long as it runs.
//
// All of them end with the process that holds them, and whoever waits for one can be interrupted.
//
// The package knows of names and times alone: it neither looks at the things nor removes them.
package uses
