// Package leak finds the content of secrets in files that a step wrote, which become a layer that everybody can read
// who gets the image.
package leak
