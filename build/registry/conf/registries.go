package conf

import (
	"fmt"
	"os"

	docker "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// The variables of the environment with the directory in place of registries.conf.d, and with the file of the aliases
// that podman has recorded.
const (
	EnvDirectory = "COOPER_REGISTRIES_CONF_DIR"
	EnvAliases   = "COOPER_SHORT_NAME_ALIASES"
)

// envFile is the variable with the path of the file in place of registries.conf.
const envFile = "CONTAINERS_REGISTRIES_CONF"

// places are the file and the directory that the environment names. Where it names a directory only the library finds
// the file; where it names a file only, the library finds it, too, and no directory counts.
func places() (file, dir string) {
	if dir = os.Getenv(EnvDirectory); dir != "" {
		file = os.Getenv(envFile)
	}
	return file, dir
}

// system is where the library finds its files; nil: in their usual places.
func system() *types.SystemContext {
	file, dir := places()
	if dir == "" {
		return nil
	}
	return &types.SystemContext{SystemRegistriesConfPath: file, SystemRegistriesConfDirPath: dir}
}

// Read reads registries.conf and the files beside it anew; the library keeps the result for the whole process.
func Read() error {
	if _, err := sysregistriesv2.TryUpdatingCache(system()); err != nil {
		return fmt.Errorf("read registries.conf: %w", err)
	}
	return nil
}

// Endpoint is a registry or mirror to look for an image in, and the name of the image there.
type Endpoint struct {
	Ref      reference.Reference
	Insecure bool
	// Namespace is the value of the query parameter "ns", which tells a proxy for several registries which one is meant;
	// empty: none.
	Namespace string
}

// Mirrors are the mirrors of an image and then its own registry, with names rewritten as registries.conf says.
func Mirrors(ref reference.Reference) ([]Endpoint, error) {
	table, err := sysregistriesv2.FindRegistry(system(), ref.Name())
	switch {
	case err != nil:
		return nil, fmt.Errorf("read registries.conf: %w", err)
	case table == nil:
		return []Endpoint{{Ref: ref}}, nil
	case table.Blocked:
		return nil, fmt.Errorf("registries.conf blocks %s", table.Prefix)
	}
	named, err := docker.ParseNamed(ref.String())
	if err != nil {
		return nil, fmt.Errorf("image name %s: %w", ref, err)
	}
	sources, err := table.PullSourcesFromReference(named)
	if err != nil {
		return nil, fmt.Errorf("registries.conf: what its table of %s makes of %s is not an image name: %w", table.Prefix,
			ref, err)
	}
	var ends []Endpoint
	for _, source := range sources {
		e := Endpoint{Insecure: source.Endpoint.Insecure, Namespace: source.Endpoint.NamespaceProxy}
		if e.Ref, err = reference.Parse(source.Reference.String()); err != nil {
			return nil, fmt.Errorf("registries.conf: %s becomes %q: %w", ref, source.Reference, err)
		}
		at, err := sysregistriesv2.FindRegistry(system(), e.Ref.Name())
		if err != nil {
			return nil, fmt.Errorf("read registries.conf: %w", err)
		}
		if at != nil {
			if at.Blocked {
				return nil, fmt.Errorf("registries.conf blocks %s, which it puts in the place of %s", at.Prefix, table.Prefix)
			}
			e.Insecure = e.Insecure || at.Insecure
		}
		ends = append(ends, e)
	}
	return ends, nil
}

// Own is the endpoint of a name's own registry, not of a mirror.
func Own(ref reference.Reference) (Endpoint, error) {
	e := Endpoint{Ref: ref}
	table, err := sysregistriesv2.FindRegistry(system(), ref.Name())
	switch {
	case err != nil:
		return e, fmt.Errorf("read registries.conf: %w", err)
	case table != nil && table.Blocked:
		return e, fmt.Errorf("registries.conf blocks %s", table.Prefix)
	case table != nil:
		e.Insecure = table.Insecure
	}
	return e, nil
}
