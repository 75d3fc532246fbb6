// Package images finds the images of a store, records new ones, and gives them names.
//
// An image is on the disk before it has a record: its layers are synced first. A name that it takes from another image
// leaves that one a name of the cache's, so that no clean-up of other tools takes along what the next build needs. The
// layers of what is found or recorded are kept for the build that asks.
//
// A Peeker looks at images without opening the store.
package images
