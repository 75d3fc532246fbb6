// Package patience says when a download is given up: nothing has come for too long, or too little for the time that it
// took.
//
// Only the time in which somebody waits for the other side counts, not that in which what came is unpacked. There is no
// limit to a download as a whole: one that makes progress may take as long as it needs.
package patience
