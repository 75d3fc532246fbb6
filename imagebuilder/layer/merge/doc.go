// Package merge hard-links a stack of overlay diff directories into one that shows the same.
package merge
