// Package console connects a command that somebody runs by hand with that person's streams or terminal, and asks it to
// end when that person wants it to.
package console
