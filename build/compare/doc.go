// Package compare says what differs between two images of a store, and which step made the difference.
package compare
