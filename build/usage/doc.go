// Package usage collects what the steps of a build took of the machine, for people and for files.
package usage
