// Package manifestcmd has the verbs for lists of images, one for each platform: manifest, and buildx's imagetools.
package manifestcmd
