package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// ShortName tells whether a name leaves it open which registry it is in: alpine and team/app do.
func ShortName(name string) bool {
	r, err := reference.ParseBare(name)
	return err == nil && !r.HasRegistry()
}

// PullCandidates are the images that a name may mean in registries, likeliest first. A short name is an alias of
// registries.conf, or is looked for in its unqualified-search-registries, or else on docker.io.
func (c *Config) PullCandidates(name string) ([]reference.Reference, error) {
	full, err := reference.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not an image name: %w", name, err)
	}
	if !ShortName(name) {
		return []reference.Reference{full.WithLatest()}, nil
	}
	alias, ok, err := c.alias(name)
	if err != nil {
		return nil, err
	}
	if ok {
		return []reference.Reference{alias}, nil
	}
	if len(c.search) == 0 {
		return []reference.Reference{full.WithLatest()}, nil
	}
	refs, err := complete(name, c.search)
	if err == nil && len(refs) > 1 && c.mode == modeEnforcing {
		var names []string
		for _, r := range refs {
			names = append(names, r.String())
		}
		err = fmt.Errorf("%q may be %s, and short-name-mode in registries.conf is enforcing: write the whole name, or add an alias", name, strings.Join(names, " or "))
	}
	return refs, err
}

// LocalCandidates are the names an image may have in a store, likeliest first: for a short name its alias, then that in
// localhost, then those in the unqualified-search-registries.
func (c *Config) LocalCandidates(name string) ([]reference.Reference, error) {
	full, err := reference.Parse(name)
	if err != nil {
		return nil, err
	}
	if !ShortName(name) {
		return []reference.Reference{full.WithLatest()}, nil
	}
	refs, err := complete(name, append([]string{"localhost"}, c.search...))
	if err != nil {
		return nil, err
	}
	alias, ok, err := c.alias(name)
	if ok {
		refs = append([]reference.Reference{alias}, refs...)
	}
	return refs, err
}

// complete puts registries before a short name.
func complete(name string, registries []string) ([]reference.Reference, error) {
	var refs []reference.Reference
	for _, host := range registries {
		r, err := reference.Parse(host + "/" + name)
		if err != nil {
			return nil, err
		}
		refs = append(refs, r.WithLatest())
	}
	return refs, nil
}

// alias looks a short name up among the aliases, without its tag and digest.
func (c *Config) alias(name string) (reference.Reference, bool, error) {
	short, err := reference.ParseBare(name)
	if err != nil {
		return short, false, err
	}
	value := c.aliases[short.Name()]
	if value == "" { // an empty one undoes that of an earlier file
		return short, false, nil
	}
	full, err := reference.Parse(value)
	full.Tag, full.Digest = short.Tag, short.Digest
	return full.WithLatest(), err == nil, err
}

func checkAlias(name, value string) error {
	r, err := reference.ParseBare(name)
	if err == nil && (r.Tag != "" || r.Digest != "" || r.HasRegistry()) {
		err = errors.New("must have neither registry nor tag nor digest")
	}
	if err != nil {
		return fmt.Errorf("alias %q: %w", name, err)
	}
	if value == "" {
		return nil
	}
	r, err = reference.ParseBare(value)
	if err == nil && (r.Tag != "" || r.Digest != "" || !r.HasRegistry()) {
		err = errors.New("must have a registry, and neither tag nor digest")
	}
	if err != nil {
		return fmt.Errorf("alias %s = %q: %w", name, value, err)
	}
	return nil
}
