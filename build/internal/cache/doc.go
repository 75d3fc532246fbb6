// Package cache remembers what steps made, so that a step whose inputs have not changed is not run again.
//
// A key is a digest over named parts: what the step is, and the content of everything it can read. A record tells which
// layer came of it. Keys name content and never times, places or names on the machine, so the same inputs give the same
// key wherever they are.
//
// Records are small files under one directory, written under a temporary name and renamed; a later one replaces an
// earlier one. A build that commits a layer holds the lock of the layer's content and parent meanwhile, so that two
// builds that make the same layer at the same time end up with one.
package cache
