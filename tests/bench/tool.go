package main

import (
	"path/filepath"
	"strings"
)

// A build is one call of a tool.
type build struct {
	dir, file, tag string
	noCache        bool
	// loopback says that the base image is in a registry without TLS.
	loopback bool
}

// flags are those that all tools have.
func (b build) flags() (flags []string) {
	if b.noCache {
		flags = append(flags, "--no-cache")
	}
	if b.loopback {
		flags = append(flags, "--tls-verify=false")
	}
	return flags
}

// A tool is a program that builds images, measured as its users call it.
type tool struct {
	name string
	// note says with which options it was called, for the report.
	note string
	// version is the argument vector that prints the version.
	version []string
	// build returns the argument vector of one build.
	build func(s *site, b build) []string
}

const (
	cooperName  = "cooper"
	buildahName = "buildah"
	limitName   = "limit"
)

func cooperTool(path string) tool {
	return tool{
		name:    cooperName,
		version: []string{path, "version"},
		build: func(_ *site, b build) []string {
			argv := []string{path, "build", "-q", "-t", b.tag, "-f", b.file}
			argv = append(argv, b.flags()...)
			return append(argv, b.dir)
		},
	}
}

// buildahTool calls buildah with its layer cache, native overlay and a store of its own beside cooper's.
func buildahTool(path string, flags []string) tool {
	return tool{
		name:    buildahName,
		note:    strings.Join(append([]string{"bud", "--layers", "--jobs=4"}, flags...), " "),
		version: []string{path, "--version"},
		build: func(s *site, b build) []string {
			argv := []string{path, "--root", filepath.Join(s.Home, "buildah"), "--runroot",
				filepath.Join(s.runtimeDir(), "buildah"),
				"--storage-driver", "overlay", "bud", "-q", "--layers", "--jobs=4"}
			argv = append(argv, flags...)
			argv = append(argv, b.flags()...)
			return append(argv, "-t", b.tag, "-f", b.file, b.dir)
		},
	}
}
