// Package workcmd has the verbs for working containers, a file each: flags to request. They take buildah's words.
package workcmd
