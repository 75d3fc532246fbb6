// Package imagecmd has the commands for images: a file for each, which makes a request of flags.
//
// One room: the verbs share how names are read, completed and answered when they lead to no image, and the session that
// they open; apart they would have to export that to each other.
package imagecmd
