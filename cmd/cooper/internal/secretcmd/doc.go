// Package secretcmd fetches secrets by commands of the user's. They run in the process outside the namespace, as the
// calling user, while the steps that ask for them are in the one inside; the two talk over a pair of sockets for each
// command.
package secretcmd
