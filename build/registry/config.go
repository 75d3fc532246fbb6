package registry

import (
	"fmt"

	docker "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// readConfig reads registries.conf and the files beside it anew; the library keeps the result for the whole process.
func readConfig() error {
	if _, err := sysregistriesv2.TryUpdatingCache(nil); err != nil {
		return fmt.Errorf("read registries.conf: %w", err)
	}
	return nil
}

// endpoint is a registry or mirror to look for an image in, and the name of the image there.
type endpoint struct {
	ref      reference.Reference
	insecure bool
	// namespace is the value of the query parameter "ns", which tells a proxy for several registries which one is meant;
	// empty: none.
	namespace string
}

// endpoints are the mirrors of an image and then its own registry, with names rewritten as registries.conf says.
func endpoints(ref reference.Reference) ([]endpoint, error) {
	table, err := sysregistriesv2.FindRegistry(nil, ref.Name())
	switch {
	case err != nil:
		return nil, fmt.Errorf("read registries.conf: %w", err)
	case table == nil:
		return []endpoint{{ref: ref}}, nil
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
	var ends []endpoint
	for _, source := range sources {
		e := endpoint{insecure: source.Endpoint.Insecure, namespace: source.Endpoint.NamespaceProxy}
		if e.ref, err = reference.Parse(source.Reference.String()); err != nil {
			return nil, fmt.Errorf("registries.conf: %s becomes %q: %w", ref, source.Reference, err)
		}
		at, err := sysregistriesv2.FindRegistry(nil, e.ref.Name())
		if err != nil {
			return nil, fmt.Errorf("read registries.conf: %w", err)
		}
		if at != nil {
			if at.Blocked {
				return nil, fmt.Errorf("registries.conf blocks %s, which it puts in the place of %s", at.Prefix, table.Prefix)
			}
			e.insecure = e.insecure || at.Insecure
		}
		ends = append(ends, e)
	}
	return ends, nil
}
