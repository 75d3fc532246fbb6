package registry

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/homedir"
	"go.podman.io/storage/pkg/unshare"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Config is what registries.conf and the files beside it say. The zero value says nothing.
type Config struct {
	// registries are sorted by prefix.
	registries []registryTable
	// search are the registries of names that have none; searchFrom is the file that names them.
	search     []string
	searchFrom string
	mode       shortNameMode
	aliases    map[string]string
	helpers    []string
}

// shortNameMode says what to do with a short name that may mean several images.
type shortNameMode string

const (
	modeDisabled   shortNameMode = "disabled"
	modePermissive shortNameMode = "permissive"
	modeEnforcing  shortNameMode = "enforcing"
)

// endpointTable is a place images come from: a [[registry]] or a [[registry.mirror]].
type endpointTable struct {
	Location       string `toml:"location"`
	Insecure       bool   `toml:"insecure"`
	PullFromMirror string `toml:"pull-from-mirror"`
	NamespaceProxy string `toml:"namespace-proxy"`
}

type registryTable struct {
	Prefix string `toml:"prefix"`
	endpointTable
	Mirrors            []endpointTable `toml:"mirror"`
	Blocked            bool            `toml:"blocked"`
	MirrorByDigestOnly bool            `toml:"mirror-by-digest-only"`
}

// configFile is the text of one file; a list that it doesn't have is nil.
type configFile struct {
	Registries []registryTable   `toml:"registry"`
	Search     []string          `toml:"unqualified-search-registries"`
	Helpers    []string          `toml:"credential-helpers"`
	Mode       shortNameMode     `toml:"short-name-mode"`
	Aliases    map[string]string `toml:"aliases"`
	Version1   map[string]any    `toml:"registries"`
}

// LoadConfig reads the registries.conf of the user or the system, the files in registries.conf.d, and the short-name aliases
// that podman has written down.
func LoadConfig() (*Config, error) {
	c := &Config{mode: modePermissive, aliases: map[string]string{}}
	files := configfile.File{
		Name: "registries", Extension: "conf", EnvironmentName: "CONTAINERS_REGISTRIES_CONF", UserId: unshare.GetRootlessUID(),
	}
	for item, err := range configfile.Read(&files) {
		if err != nil {
			return nil, fmt.Errorf("read registries.conf: %w", err)
		}
		var f configFile
		if _, err = toml.NewDecoder(item.Reader).Decode(&f); err == nil {
			err = c.add(&f, item.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", item.Name, err)
		}
	}
	if len(c.helpers) == 0 {
		c.helpers = []string{helperAuthFile}
	}
	return c, c.addRecorded()
}

// add puts a file on top of those before it.
func (c *Config) add(f *configFile, name string) error {
	if len(f.Version1) > 0 {
		return errors.New("this is version 1 of the format, which is no longer read: write [[registry]] tables")
	}
	if err := f.check(); err != nil {
		return err
	}
	tables := map[string]registryTable{}
	for _, r := range c.registries {
		tables[r.Prefix] = r
	}
	seen := map[string]bool{}
	for _, r := range f.Registries {
		if !seen[r.Prefix] { // the first of a file counts, the last file wins
			seen[r.Prefix], tables[r.Prefix] = true, r
		}
	}
	c.registries = nil
	for _, prefix := range slices.Sorted(maps.Keys(tables)) {
		c.registries = append(c.registries, tables[prefix])
	}
	if f.Search != nil {
		c.search, c.searchFrom = f.Search, name
	}
	if f.Helpers != nil {
		c.helpers = f.Helpers
	}
	if f.Mode != "" {
		c.mode = f.Mode
	}
	maps.Copy(c.aliases, f.Aliases)
	return nil
}

func (f *configFile) check() error {
	for i := range f.Registries {
		if err := f.Registries[i].check(); err != nil {
			return err
		}
	}
	if err := checkConflicts(f.Registries); err != nil {
		return err
	}
	for i, host := range f.Search {
		r, err := reference.ParseBare(strings.TrimRight(host, "/") + "/x")
		if err != nil || r.Path != "x" {
			return fmt.Errorf("unqualified-search-registries: %q is not a registry", host)
		}
		f.Search[i] = r.Domain
	}
	switch f.Mode {
	case "", modeDisabled, modePermissive, modeEnforcing:
	default:
		return fmt.Errorf("short-name-mode = %q: must be disabled, permissive or enforcing", f.Mode)
	}
	for name, value := range f.Aliases {
		if err := checkAlias(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (r *registryTable) check() error {
	var err error
	if r.Location, err = location(r.Location); err != nil {
		return err
	}
	if r.Prefix, err = location(r.Prefix); err != nil {
		return err
	}
	wild := strings.HasPrefix(r.Prefix, "*.")
	switch {
	case r.Prefix == "" && r.Location == "":
		return errors.New("a [[registry]] has neither prefix nor location")
	case r.Prefix == "":
		r.Prefix = r.Location
	case r.Location == "" && !wild:
		return fmt.Errorf("[[registry]] %s has no location: only a prefix such as *.example.com can do without", r.Prefix)
	case wild && strings.ContainsAny(r.Prefix, "/@:"):
		return fmt.Errorf("[[registry]] prefix %q: one with a wildcard must be a host name such as *.example.com", r.Prefix)
	}
	if r.PullFromMirror != "" {
		return fmt.Errorf("[[registry]] %s: pull-from-mirror belongs into a [[registry.mirror]]", r.Prefix)
	}
	for i := range r.Mirrors {
		m := &r.Mirrors[i]
		if m.Location, err = location(m.Location); err != nil {
			return err
		}
		switch {
		case m.Location == "":
			return fmt.Errorf("a mirror of %s has no location", r.Prefix)
		case r.MirrorByDigestOnly && m.PullFromMirror != "":
			return fmt.Errorf("mirror %s of %s: pull-from-mirror can't be used together with mirror-by-digest-only", m.Location, r.Prefix)
		case !slices.Contains([]string{"", "all", "digest-only", "tag-only"}, m.PullFromMirror):
			return fmt.Errorf("mirror %s of %s: pull-from-mirror = %q must be all, digest-only or tag-only", m.Location, r.Prefix, m.PullFromMirror)
		}
	}
	return nil
}

func location(s string) (string, error) {
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return "", fmt.Errorf("%q must be without http:// or https://", s)
	}
	return strings.TrimRight(s, "/"), nil
}

// checkConflicts refuses tables of one place that don't agree on what is safe.
func checkConflicts(tables []registryTable) error {
	first := map[string]registryTable{}
	for _, r := range tables {
		key := r.Location
		if key == "" {
			key = r.Prefix
		}
		before, ok := first[key]
		switch {
		case !ok:
			first[key] = r
		case before.Insecure != r.Insecure:
			return fmt.Errorf("registry %s is both insecure and not", key)
		case before.Blocked != r.Blocked:
			return fmt.Errorf("registry %s is both blocked and not", key)
		}
	}
	return nil
}

// endpoint is where to look for an image, and under which name.
type endpoint struct {
	ref      reference.Reference
	insecure bool
	// namespace is the "ns" parameter of a proxy for several registries.
	namespace string
}

// endpoints are the mirrors of an image and then its own registry, rewritten as registries.conf says.
func (c *Config) endpoints(ref reference.Reference) ([]endpoint, error) {
	table := c.find(ref.Name())
	if table == nil {
		return []endpoint{{ref: ref}}, nil
	}
	if table.Blocked {
		return nil, fmt.Errorf("registries.conf blocks %s", table.Prefix)
	}
	var places []endpointTable
	for _, m := range table.Mirrors {
		digested := ref.Digest != ""
		if (table.MirrorByDigestOnly || m.PullFromMirror == "digest-only") && !digested || m.PullFromMirror == "tag-only" && digested {
			continue
		}
		places = append(places, m)
	}
	var ends []endpoint
	for _, place := range append(places, table.endpointTable) {
		e := endpoint{ref: ref, insecure: place.Insecure, namespace: place.NamespaceProxy}
		if place.Location != "" {
			text := ref.String()
			text = place.Location + text[matchLength(text, table.Prefix):]
			var err error
			if e.ref, err = reference.Parse(text); err != nil || e.ref.String() != text {
				return nil, fmt.Errorf("registries.conf: %s becomes %q, which is not an image name", ref, text)
			}
		}
		if at := c.find(e.ref.Name()); at != nil {
			if at.Blocked {
				return nil, fmt.Errorf("registries.conf blocks %s, which it puts in the place of %s", at.Prefix, table.Prefix)
			}
			e.insecure = e.insecure || at.Insecure
		}
		ends = append(ends, e)
	}
	return ends, nil
}

// find is the table with the longest prefix of a name; nil if there is none.
func (c *Config) find(name string) *registryTable {
	var best *registryTable
	for i := range c.registries {
		r := &c.registries[i]
		if matchLength(name, r.Prefix) >= 0 && (best == nil || len(r.Prefix) > len(best.Prefix)) {
			best = r
		}
	}
	return best
}

// matchLength is how much of a name a prefix covers; -1 if it isn't its prefix.
func matchLength(name, prefix string) int {
	end := len(prefix)
	if suffix, wild := strings.CutPrefix(prefix, "*"); wild {
		at := strings.Index(name, suffix)
		if at < 0 || strings.Contains(name[:at], "/") {
			return -1
		}
		end = at + len(suffix)
	} else if !strings.HasPrefix(name, prefix) {
		return -1
	}
	if end < len(name) && !strings.ContainsRune(":/@", rune(name[end])) {
		return -1
	}
	return end
}

// addRecorded adds the aliases that podman has recorded when its user chose one. They are only read here.
func (c *Config) addRecorded() error {
	dir := "/var/cache"
	if unshare.GetRootlessUID() != 0 {
		var err error
		if dir, err = homedir.GetCacheHome(); err != nil {
			return fmt.Errorf("find short-name aliases: %w", err)
		}
	}
	path := filepath.Join(dir, "containers", "short-name-aliases.conf")
	var f configFile
	if _, err := toml.DecodeFile(path, &f); err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return nil
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	for name, value := range f.Aliases {
		if err := checkAlias(name, value); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	maps.Copy(c.aliases, f.Aliases)
	return nil
}
