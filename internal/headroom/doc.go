// Package headroom says how many processes the user can still start, and how many of them commands of others may have.
package headroom
