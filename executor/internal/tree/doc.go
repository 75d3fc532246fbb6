// Package tree says what a process and all below it take of the machine, as /proc shows it. It is for machines on which
// no control group counts that.
package tree
