// Package imagecmd has the commands for images: a file for each, which makes a request of flags.
package imagecmd
