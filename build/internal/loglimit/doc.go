// Package loglimit bounds how much of a step's output is shown, in all and in a second.
package loglimit
