// Package buildxcmd has the commands below cooper buildx, which docker's tools run: the verbs of docker buildx about
// builders, which there are none of here, and what docker asks of a plugin. Those that build or read the store are
// cooper's own verbs; the caller hands them in.
package buildxcmd
