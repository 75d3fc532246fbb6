// Package tryout runs a command in an image, to try what was built: in the sandbox of a RUN step, with the image's own
// settings, and with standard input and a terminal. What the command writes to the image's files goes when it ends. It
// keeps no containers: there is nothing to name, list, stop or start again.
package tryout
