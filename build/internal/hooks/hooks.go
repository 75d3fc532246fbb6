// Package hooks reads the files of oci-hooks(5): which programs an OCI runtime is to run beside which containers.
package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/executor"
)

// Set are the hooks of some directories, in the order in which they run.
type Set []entry

// entry is the hook of a file, and when it runs.
type entry struct {
	hook   executor.Hook
	stages []string
	when   condition
}

// condition is the table "when" of a file: the hook runs if one of its parts is so.
type condition struct {
	Always        *bool             `json:"always"`
	Annotations   map[string]string `json:"annotations"`
	Commands      []string          `json:"commands"`
	HasBindMounts *bool             `json:"hasBindMounts"`
}

// file is the text of a file of version 1.0.0.
type file struct {
	Version string `json:"version"`
	Hook    struct {
		Path    string   `json:"path"`
		Args    []string `json:"args"`
		Env     []string `json:"env"`
		Timeout *int     `json:"timeout"`
	} `json:"hook"`
	When   condition `json:"when"`
	Stages []string  `json:"stages"`
}

// points are where a hook can run.
func points() []string {
	return []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}
}

// Read reads the files of directories. A file of a later directory takes the place of one with the same name in an
// earlier one. A directory that isn't there has none.
func Read(dirs []string) (Set, error) {
	paths := map[string]string{} // by name
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read hooks: %w", err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".json") {
				paths[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	var set Set
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		e, err := read(paths[name])
		if err != nil {
			return nil, fmt.Errorf("hook %s: %w", paths[name], err)
		}
		set = append(set, e)
	}
	return set, nil
}

func read(path string) (entry, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return entry{}, err
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return entry{}, err
	}
	if f.Version != "1.0.0" {
		return entry{}, fmt.Errorf("its version is %q: only 1.0.0 is supported", f.Version)
	}
	st, err := os.Stat(f.Hook.Path)
	switch {
	case !filepath.IsAbs(f.Hook.Path):
		return entry{}, fmt.Errorf("its path %q is not absolute", f.Hook.Path)
	case err != nil:
		return entry{}, err
	case !st.Mode().IsRegular():
		return entry{}, fmt.Errorf("%s is no program", f.Hook.Path)
	case len(f.Stages) == 0:
		return entry{}, fmt.Errorf("it has no stages, of which there are %s", strings.Join(points(), ", "))
	}
	for _, point := range f.Stages {
		if !slices.Contains(points(), point) {
			return entry{}, fmt.Errorf("it has a stage %q: there are %s", point, strings.Join(points(), ", "))
		}
	}
	for _, text := range f.When.expressions() {
		if _, err := regexp.Compile(text); err != nil {
			return entry{}, err
		}
	}
	hook := executor.Hook{Path: f.Hook.Path, Args: f.Hook.Args, Env: f.Hook.Env, Timeout: f.Hook.Timeout}
	return entry{hook: hook, stages: f.Stages, when: f.When}, nil
}

// expressions are all regular expressions of a condition.
func (c condition) expressions() (all []string) {
	for key, value := range c.Annotations {
		all = append(all, key, value)
	}
	return append(all, c.Commands...)
}

// For are the hooks of a container that executes a program and has directories of the host or not. A build's containers
// have no annotations.
func (s Set) For(program string, hostDirs bool) (list []executor.Hook) {
	for _, e := range s {
		if !e.when.holds(program, hostDirs) {
			continue
		}
		for _, point := range e.stages {
			hook := e.hook
			hook.Point = point
			list = append(list, hook)
		}
	}
	return list
}

// holds tells whether one of the parts is so.
func (c condition) holds(program string, hostDirs bool) bool {
	if c.Always != nil && *c.Always || c.HasBindMounts != nil && *c.HasBindMounts == hostDirs {
		return true
	}
	return slices.ContainsFunc(c.Commands, func(text string) bool {
		found, err := regexp.MatchString(text, program)
		return err == nil && found
	})
}
