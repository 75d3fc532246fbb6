// Package diskcmd has the verbs that show and give back what builds take of the machine: df, prune and top.
package diskcmd
