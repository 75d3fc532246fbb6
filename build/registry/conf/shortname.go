package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/homedir"
	"go.podman.io/storage/pkg/unshare"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// ShortNames is what registries.conf says of names that have no registry, and what podman has recorded of them. Every
// build looks a name up, even if the cache has all of its steps. So cooper reads the files without the library, which
// takes three times as long and a lock: see docs/decisions/short-names.md. Mistakes in settings that ShortNames doesn't
// use are left to the library, which reads the same files before it pulls.
type ShortNames struct {
	// search are the registries that short names are looked for in.
	search []string
	// aliases are full names by short names, both without tag and digest. An empty full name cancels the alias of an
	// earlier file.
	aliases map[string]string
	// mode is "enforcing" if a name that may mean several images must not be guessed.
	mode string
}

// namesFile is the text of one file; a list that the file doesn't have is nil.
type namesFile struct {
	Search  []string          `toml:"unqualified-search-registries"`
	Mode    string            `toml:"short-name-mode"`
	Aliases map[string]string `toml:"aliases"`
}

// LoadShortNames reads the registries.conf of the user or the system, the files in registries.conf.d, and the
// short-name aliases that podman has written down.
func LoadShortNames() (*ShortNames, error) {
	s := &ShortNames{aliases: map[string]string{}}
	file, dir := places()
	files := configfile.File{
		Name: "registries", Extension: "conf", EnvironmentName: envFile, UserId: unshare.GetRootlessUID(),
		CustomConfigFilePath: file, CustomConfigFileDropInDirectory: dir,
	}
	for item, err := range configfile.Read(&files) {
		if err != nil {
			return nil, fmt.Errorf("read registries.conf: %w", err)
		}
		var f namesFile
		if _, err = toml.NewDecoder(item.Reader).Decode(&f); err != nil {
			return nil, fmt.Errorf("%s: %w", item.Name, err)
		}
		if f.Search != nil {
			s.search = f.Search
		}
		if f.Mode != "" {
			s.mode = f.Mode
		}
		maps.Copy(s.aliases, f.Aliases)
	}
	return s, s.addRecorded()
}

// addRecorded adds the aliases that podman has recorded when its user chose one. cooper
// never writes that file.
func (s *ShortNames) addRecorded() error {
	path, err := recordedAliases()
	if err != nil {
		return fmt.Errorf("find short-name aliases: %w", err)
	}
	var f namesFile
	if _, err := toml.DecodeFile(path, &f); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	maps.Copy(s.aliases, f.Aliases)
	return nil
}

// recordedAliases is the path of the file with the aliases that podman has recorded.
func recordedAliases() (string, error) {
	if path := os.Getenv(EnvAliases); path != "" {
		return path, nil
	}
	dir := "/var/cache"
	if unshare.GetRootlessUID() != 0 {
		var err error
		if dir, err = homedir.GetCacheHome(); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "containers", "short-name-aliases.conf"), nil
}

// ShortName tells whether a name leaves it open which registry it is in: alpine and team/app do.
func ShortName(name string) bool {
	r, err := reference.ParseBare(name)
	return err == nil && !r.HasRegistry()
}

// PullCandidates are the images that a name may mean in registries, likeliest first. A short name is an alias of
// registries.conf, or is looked for in its unqualified-search-registries, or else on docker.io.
func (s *ShortNames) PullCandidates(name string) ([]reference.Reference, error) {
	full, err := reference.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not an image name: %w", name, err)
	}
	if !ShortName(name) {
		return []reference.Reference{full.WithLatest()}, nil
	}
	alias, ok, err := s.alias(name)
	if err != nil {
		return nil, err
	}
	if ok {
		return []reference.Reference{alias}, nil
	}
	if len(s.search) == 0 {
		return []reference.Reference{full.WithLatest()}, nil
	}
	refs, err := complete(name, s.search)
	if err == nil && len(refs) > 1 && s.mode == "enforcing" {
		var names []string
		for _, r := range refs {
			names = append(names, r.String())
		}
		err = fmt.Errorf("%q may be %s, and short-name-mode in registries.conf is enforcing: write the whole name, or add an alias",
			name, strings.Join(names, " or "))
	}
	return refs, err
}

// LocalCandidates are the names an image may have in a store, likeliest first: for a short name its alias, then that in
// localhost, then those in the unqualified-search-registries.
func (s *ShortNames) LocalCandidates(name string) ([]reference.Reference, error) {
	full, err := reference.Parse(name)
	if err != nil {
		return nil, err
	}
	if !ShortName(name) {
		return []reference.Reference{full.WithLatest()}, nil
	}
	refs, err := complete(name, append([]string{"localhost"}, s.search...))
	if err != nil {
		return nil, err
	}
	alias, ok, err := s.alias(name)
	if ok {
		refs = append([]reference.Reference{alias}, refs...)
	}
	return refs, err
}

// complete puts registries before a short name.
func complete(name string, registries []string) ([]reference.Reference, error) {
	var refs []reference.Reference
	for _, host := range registries {
		host = strings.TrimRight(host, "/")
		if bare, err := reference.ParseBare(host + "/x"); err != nil || bare.Domain != host {
			return nil, fmt.Errorf("unqualified-search-registries of registries.conf has %q, which is not a registry", host)
		}
		r, err := reference.Parse(host + "/" + name)
		if err != nil {
			return nil, err
		}
		refs = append(refs, r.WithLatest())
	}
	return refs, nil
}

// alias looks a short name up among the aliases, without its tag and digest.
func (s *ShortNames) alias(name string) (reference.Reference, bool, error) {
	short, err := reference.ParseBare(name)
	if err != nil {
		return short, false, err
	}
	value := s.aliases[short.Name()]
	if value == "" {
		return short, false, nil
	}
	bare, err := reference.ParseBare(value)
	if err == nil && (bare.Tag != "" || bare.Digest != "" || !bare.HasRegistry()) {
		err = errors.New("an alias must have a registry, and neither tag nor digest")
	}
	if err != nil {
		return bare, false, fmt.Errorf("registries.conf: alias %s = %q: %w", short.Name(), value, err)
	}
	full, err := reference.Parse(value)
	full.Tag, full.Digest = short.Tag, short.Digest
	return full.WithLatest(), err == nil, err
}
