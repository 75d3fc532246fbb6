package buildflags

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// transports are the words before the colon that begin a place.
func transports() []string {
	return []string{"containers-storage", "dir", "docker", "docker-archive", "oci", "oci-archive"}
}

// SplitPlaces parts the values of --tag into names for the store and places. Outside of podman's and buildah's dialect
// what could be a name, such as oci:1, is one: a place has a slash or a dot behind its transport.
func SplitPlaces(d dialect.Dialect, tags []string) (names []string, places []export.Spec, err error) {
	for _, tag := range tags {
		transport, rest, found := strings.Cut(tag, ":")
		if !found || !slices.Contains(transports(), transport) ||
			!d.Containers() && !strings.HasPrefix(rest, "/") && !strings.HasPrefix(rest, ".") && !strings.Contains(rest, "/") {
			names = append(names, tag)
			continue
		}
		if transport == "containers-storage" {
			names = append(names, rest)
			continue
		}
		spec, err := placeOf(transport, rest)
		if err != nil {
			return nil, nil, command.Usagef("--tag %s: %w", tag, err)
		}
		places = append(places, spec)
	}
	return names, places, nil
}

// FilePlace is the file or directory that a text names in podman's words, such as oci-archive:FILE; is tells whether it
// does.
func FilePlace(text string) (spec export.Spec, is bool, err error) {
	transport, rest, found := strings.Cut(text, ":")
	if !found || !slices.Contains([]string{"dir", "docker-archive", "oci", "oci-archive"}, transport) {
		return spec, false, nil
	}
	spec, err = placeOf(transport, rest)
	return spec, true, err
}

// placeOf is the output that a transport and what follows it name.
func placeOf(transport, rest string) (export.Spec, error) {
	if transport == "docker" {
		name, ok := strings.CutPrefix(rest, "//")
		if !ok {
			return export.Spec{}, errors.New("must be docker://NAME")
		}
		return export.ParseSpec("type=registry,name=" + name)
	}
	path, ref := rest, ""
	if n := strings.LastIndexByte(rest, ':'); n >= 0 && transport != "dir" {
		path, ref = rest[:n], rest[n+1:]
		if first := strings.IndexByte(rest, ':'); transport == "docker-archive" { // FILE:NAME:TAG
			path, ref = rest[:first], rest[first+1:]
		}
	}
	spec := export.Spec{Type: export.TypeOCI, Dest: path, Directory: transport == "oci"}
	switch transport {
	case "dir":
		spec.Type = export.TypeDir
	case "docker-archive":
		spec.Type = export.TypeDocker
	}
	switch {
	case ref != "" && transport == "docker-archive":
		spec.Names = []string{ref}
	case ref != "": // in a layout an image is found by the tag of its name
		spec.Names = []string{strings.ToLower(strings.TrimLeft(filepath.Base(path), "._-")) + ":" + ref}
	}
	return spec, spec.Check()
}
