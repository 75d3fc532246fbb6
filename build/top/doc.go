// Package top shows the processes of running steps.
//
// A build notes each RUN step that runs as a file in a directory of its user's, [Dir], and holds a lock on it: a note
// without a lock is one that a killed build has left. [List] reads the notes, [Processes] finds what runs in a step,
// and a [Table] writes the columns that podman top knows, and some of cooper's own. All of it goes on outside the user
// namespaces of the steps. What images and steps say of themselves (names, command lines) is shown without control
// characters.
package top
