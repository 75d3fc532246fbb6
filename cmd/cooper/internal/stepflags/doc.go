// Package stepflags reads the flags about the commands of RUN steps, of working containers and of cooper run: their
// sandbox, their secrets, what runs them, and the user namespace that they are in.
package stepflags
