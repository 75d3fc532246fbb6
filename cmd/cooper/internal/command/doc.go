// Package command is what the commands of the command line share: streams, errors with their exit statuses, the way
// into the user namespace, flags that say which store is used, and formats.
package command
