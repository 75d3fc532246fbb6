// Package imagenames is what verbs that name images share: completion of the names, and what was probably meant by one
// that leads to no image.
package imagenames
