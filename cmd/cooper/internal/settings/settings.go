package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/tomlfile"
)

const (
	// Variable names the variable of the environment with the path of the only file that is read.
	Variable = "COOPER_CONFIG"
	// System is the machine's file.
	System = "/etc/cooper/cooper.toml"
	// userFile is the user's, below the directory of configuration.
	userFile = "cooper/cooper.toml"
)

// A Value is a setting as it is in force.
type Value struct {
	Key Key `json:"Key"`
	// Value is the text of the value, as a flag would have it.
	Value string `json:"Value"`
	// From is the file that says so; empty: none does, and the value is the usual one.
	From string `json:"From,omitempty"`
}

// Settings are all settings as they are in force. Read makes them.
type Settings struct{ values []Value }

// All are the values by the order of the documentation.
func (s Settings) All() []Value { return slices.Clone(s.values) }

// Text is the value of a setting.
func (s Settings) Text(k Key) string { return s.Value(k).Value }

// Value is a setting with the file that it is from.
func (s Settings) Value(k Key) Value {
	n := slices.IndexFunc(s.values, func(v Value) bool { return v.Key == k })
	if n < 0 {
		return Value{Key: k}
	}
	return s.values[n]
}

// Is tells whether a setting is true.
func (s Settings) Is(k Key) bool { return s.Text(k) == "true" }

// Below are the values of a table with names of the user's, by these names.
func (s Settings) Below(table Key) map[string]Value {
	all := map[string]Value{}
	for _, v := range s.values {
		if name, is := strings.CutPrefix(string(v.Key), string(table)+"."); is {
			all[name] = v
		}
	}
	return all
}

// Where names the setting, and the file that it is from, for people.
func (v Value) Where() string { return string(v.Key) + " in " + v.From }

// Read reads the files that there are. getenv gives variables of the environment, as os.Getenv does.
func Read(getenv func(string) string) (Settings, error) {
	var s Settings
	for _, r := range rows() {
		if !r.kind.isTable {
			s.values = append(s.values, Value{Key: r.key, Value: r.usual})
		}
	}
	if only := getenv(Variable); only != "" {
		if err := s.add(only); err != nil {
			return Settings{}, fmt.Errorf("%s: %w", Variable, err)
		}
		return s, nil
	}
	for _, name := range files(getenv) {
		if err := s.add(name); err != nil && !errors.Is(err, fs.ErrNotExist) && isSeen(name) {
			return Settings{}, err
		}
	}
	return s, nil
}

// isSeen tells whether there is a file of that name in a directory that the process may look into. HOME may be another
// user's.
func isSeen(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// files are the files to read where the environment names none; later ones go before earlier ones.
func files(getenv func(string) string) []string {
	list := []string{System}
	switch config, home := getenv("XDG_CONFIG_HOME"), getenv("HOME"); {
	case filepath.IsAbs(config):
		list = append(list, filepath.Join(config, userFile))
	case filepath.IsAbs(home):
		list = append(list, filepath.Join(home, ".config", userFile))
	}
	return list
}

// add takes what a file says. If there is no such file, the error matches fs.ErrNotExist.
func (s *Settings) add(name string) error {
	top := map[string]toml.Primitive{}
	meta, err := tomlfile.Decode(name, &top)
	if err != nil {
		return err
	}
	return tomlfile.Explain(name, s.addTable(name, "", &meta, top))
}

// addTable takes what a table of a file says, and the tables in it. above is the table's name with a dot behind it.
func (s *Settings) addTable(file, above string, meta *toml.MetaData, table map[string]toml.Primitive) error {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		value, key := table[name], above+name
		var below map[string]toml.Primitive // stays nil for what is no table
		if err := meta.PrimitiveDecode(value, &below); err != nil {
			return err
		}
		if len(below) == 0 {
			if err := meta.PrimitiveDecode(value, &setting{file: file, key: Key(key), all: s}); err != nil {
				return err
			}
		} else if err := s.addTable(file, key+".", meta, below); err != nil {
			return err
		}
	}
	return nil
}

// setting is a place in which the library puts a value of a file, and which refuses what can't be: errors of
// UnmarshalTOML are the only ones with a line.
type setting struct {
	file string
	key  Key
	all  *Settings
}

// UnmarshalTOML takes the value.
func (s *setting) UnmarshalTOML(value any) error {
	all := rows()
	n := slices.IndexFunc(all, s.isOf)
	if _, isTable := value.(map[string]any); n < 0 && isTable && slices.ContainsFunc(all, s.isTableOf) {
		return nil // an empty one
	}
	if n < 0 {
		return fmt.Errorf("there is no setting %s\nhint: there are %s", s.key, names(all))
	}
	text, ok := all[n].kind.read(value)
	if !ok {
		return fmt.Errorf("%s must be %s", s.key, all[n].kind.what)
	}
	s.all.set(Value{s.key, text, s.file})
	return nil
}

// set puts a value in the place of an earlier one with the same key, or behind all.
func (s *Settings) set(v Value) {
	for n := range s.values {
		if s.values[n].Key == v.Key {
			s.values[n] = v
			return
		}
	}
	s.values = append(s.values, v)
}

// isOf tells whether s has the key of a row, or a name in the table that it is.
func (s *setting) isOf(r row) bool {
	return s.key == r.key && !r.kind.isTable || r.kind.isTable && strings.HasPrefix(string(s.key), string(r.key)+".")
}

// isTableOf tells whether s has the name of a table that a key is in.
func (s *setting) isTableOf(r row) bool {
	return strings.HasPrefix(string(r.key), string(s.key)+".") || r.kind.isTable && r.key == s.key
}

func names(all []row) string {
	list := make([]string, len(all))
	for i, r := range all {
		list[i] = string(r.key)
	}
	return strings.Join(list, ", ")
}
