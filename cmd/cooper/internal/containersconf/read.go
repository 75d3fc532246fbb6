package containersconf

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/tomlfile"
)

const (
	// envOnly names the variable with the path of the only file that is read, envLast that with one that is read last.
	envOnly, envLast = "CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE"
	// name is that of the files and, with .d behind it, of the directories of further ones.
	name = "containers.conf"
)

// Conf is what the files say; the zero value is that they say nothing.
type Conf struct {
	Containers struct {
		Capabilities list   `toml:"default_capabilities"`
		Limits       list   `toml:"default_ulimits"`
		Devices      list   `toml:"devices"`
		DNS          list   `toml:"dns_servers"`
		DNSSearch    list   `toml:"dns_searches"`
		DNSOptions   list   `toml:"dns_options"`
		Volumes      list   `toml:"volumes"`
		Seccomp      string `toml:"seccomp_profile"`
		ShmSize      string `toml:"shm_size"`
	} `toml:"containers"`
	Engine struct {
		CDIDirs     list            `toml:"cdi_spec_dirs"`
		Compression string          `toml:"compression_format"`
		Env         list            `toml:"env"`
		Retry       *uint           `toml:"retry"`
		RetryDelay  string          `toml:"retry_delay"`
		Runtime     string          `toml:"runtime"`
		Runtimes    map[string]list `toml:"runtimes"`
	} `toml:"engine"`
}

// list is an array of strings. In a later file it takes the place of that in an earlier one, unless it has
// {append=true} among its entries.
type list []string

// UnmarshalTOML takes an array.
func (l *list) UnmarshalTOML(value any) error {
	entries, ok := value.([]any)
	if !ok {
		return errors.New("must be an array of strings")
	}
	var texts []string
	appends := false
	for _, entry := range entries {
		switch v := entry.(type) {
		case string:
			texts = append(texts, v)
		case map[string]any:
			appends, ok = v["append"].(bool)
		default:
			ok = false
		}
		if !ok {
			return errors.New("must be an array of strings, and {append=true} may be among them")
		}
	}
	if appends {
		texts = append((*l)[:len(*l):len(*l)], texts...)
	}
	*l = texts
	return nil
}

// Read reads the files that there are: the distribution's, the machine's and the user's, each with those in the
// directory beside it. getenv gives variables of the environment, as os.Getenv does.
func Read(getenv func(string) string) (Conf, error) {
	var c Conf
	if only := getenv(envOnly); only != "" {
		if err := c.add(only); err != nil {
			return Conf{}, fmt.Errorf("%s: %w", envOnly, err)
		}
	} else if err := c.addAll(directories(getenv)); err != nil {
		return Conf{}, err
	}
	if last := getenv(envLast); last != "" {
		if err := c.add(last); err != nil {
			return Conf{}, fmt.Errorf("%s: %w", envLast, err)
		}
	}
	return c, nil
}

func (c *Conf) addAll(dirs []string) error {
	for _, dir := range dirs {
		file := filepath.Join(dir, name)
		further, err := filepath.Glob(file + ".d/*.conf") // by name
		if err != nil {
			return err
		}
		for _, file := range append([]string{file}, further...) {
			// HOME may be another user's, who lets nobody in.
			if err := c.add(file); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				return err
			}
		}
	}
	return nil
}

// directories are those of the files; what a later one says goes before an earlier one.
func directories(getenv func(string) string) []string {
	dirs := []string{"/usr/share/containers", "/etc/containers"}
	switch config, home := getenv("XDG_CONFIG_HOME"), getenv("HOME"); {
	case filepath.IsAbs(config):
		dirs = append(dirs, filepath.Join(config, "containers"))
	case filepath.IsAbs(home):
		dirs = append(dirs, filepath.Join(home, ".config/containers"))
	}
	return dirs
}

// add takes what a file says.
func (c *Conf) add(file string) error {
	_, err := tomlfile.Decode(file, c)
	return err
}
