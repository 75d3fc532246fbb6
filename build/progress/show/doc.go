// Package show has the views of a build's events. [New] makes one:
//
//   - plain: one line for each thing that happens, as in "#5 [builder 3/7] RUN apt-get update", "#5 0.123 some output",
//     "#5 DONE 1.2s", "#5 CACHED", "#5 ERROR: exit status 1". Steps are numbered from 1 in the order in which they
//     start.
//   - tty: finished steps scroll by as one line each; below them the running ones are redrawn in place, at most ten
//     times a second, with their elapsed time and the last lines of their output.
//   - quiet: nothing, unless a step fails.
//   - steps: what podman and buildah show, the instructions in their order, each with what it writes; see [NewSteps].
//   - json: one JSON object a line, see below.
//   - rawjson: the SolveStatus of BuildKit's client as JSON, one a line. A step is a vertex whose digest stands for it
//     in this build; notes are vertexes that are completed at once; warnings belong to the vertex of the Dockerfile.
//
// When a step fails, tty and quiet end with the last lines of its output, at most 100. The error itself is shown in
// short there; the caller that has the error in full prints it after Close.
//
// What a step prints is hostile; package lines makes it harmless. A line longer than 8 KiB is broken in plain and cut
// short elsewhere; memory is bounded whatever is printed.
//
// All renderers are safe for concurrent use. No goroutine is left after Close, and the terminal holds no changed mode
// between two frames, so that even a killed process leaves it usable.
//
// # The json view
//
// Every object has "time" (RFC 3339, UTC, nanoseconds) and "type". "id" is the step's ID as the build counts it;
// what no instruction stands for, such as the pull of a base image, has one below zero.
//
//	{"type":"start","id":4,"name":"[builder 3/7]","text":"RUN make"}
//	{"type":"output","id":4,"stream":"stdout","text":"hello\n"}   exact output in pieces of at most 32 KiB; a piece that
//	{"type":"output","id":4,"stream":"stderr","base64":"/w=="}    isn't UTF-8 comes in "base64" instead of "text"
//	{"type":"transfer","id":4,"what":"context","done":512,"total":1024}   bytes; no total if unknown, "files" if counted;
//	{"type":"used","id":4,"memory":1048576,"cpu":0.25,"read":4096,"wrote":8192}   bytes at most, seconds, bytes of disks
//	{"type":"why","id":4,"text":"a.go has changed","why":{"kind":"file"}}   before "done", if --explain asks for it
//	{"type":"done","id":4,"seconds":1.25,"cached":true,"reason":"same inputs"}
//	{"type":"done","id":4,"seconds":1.25,"error":"exit status 1","canceled":false}
//	{"type":"warning","file":"Containerfile","line":3,"rule":"StageNameCasing","message":"...","url":"https://..."}
//	{"type":"note","text":"..."}
//
// Transfers come at most ten times a second each. Fields that are false, zero or empty may be left out, but for "id"
// and "seconds". New fields and types may be added.
package show
