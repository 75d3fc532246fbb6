// Package cache remembers what steps made, so that a step whose inputs have not changed is not run again.
//
// A key is a digest over named parts: what the step is, and the content of everything it can read. A record tells which
// layer came of it. Keys name content and never times, places or names on the machine, so the same inputs give the same
// key wherever they are.
//
// Records are small files under one directory, written whole and renamed; the last one written is the one that is
// there. Whoever commits a layer has the lock of its content on its parent meanwhile, so that two builds that make the
// same thing at once end up with one layer.
package cache
