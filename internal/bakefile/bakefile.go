// Package bakefile is what cooper and cooper-bake say to each other: which bake files to read, and what they ask for.
// The question is the only argument of cooper-bake, the answer its standard output, both as JSON. Files by the name
// "-" are its standard input.
package bakefile

import "encoding/json"

// Program is the name of the program that reads bake files.
const Program = "cooper-bake"

// Question says which files are read, and how.
type Question struct {
	// Files are paths; none: those of the usual names that there are in the directory.
	Files []string `json:"files,omitempty"`
	// Targets are names and patterns of targets and groups.
	Targets []string `json:"targets,omitempty"`
	// Overrides are TARGET.KEY=VALUE, Vars are NAME=VALUE.
	Overrides []string `json:"overrides,omitempty"`
	Vars      []string `json:"vars,omitempty"`
	// Allow are what the files may ask for besides files of the directory. Without Ask what is missing is an error, with
	// it the user is asked on the terminal.
	Allow []string `json:"allow,omitempty"`
	Ask   bool     `json:"ask,omitempty"`
	// Command is the command line that the user has typed, for the message about what is missing.
	Command []string `json:"command,omitempty"`
	// Describe asks for what can be built and set instead of what is to be built; Print asks for no more than the
	// definition, so nothing need be allowed.
	Describe bool `json:"describe,omitempty"`
	Print    bool `json:"print,omitempty"`
}

// Answer is what the files say.
type Answer struct {
	// Definition is what docker buildx bake --print prints.
	Definition json.RawMessage `json:"definition,omitempty"`
	// Targets are those to build, and those that these are linked to, by name.
	Targets []Target `json:"targets,omitempty"`
	// Names and Variables are the answer to Describe, by name.
	Names     []Name     `json:"names,omitempty"`
	Variables []Variable `json:"variables,omitempty"`
}

// Target is one thing to build.
type Target struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Linked says that the target is built for others only.
	Linked bool `json:"linked,omitempty"`
	// Flags are those of docker buildx build, and Context is its argument.
	Flags   []string `json:"flags,omitempty"`
	Context string   `json:"context"`
	// Inline is the text of the Dockerfile; nil: it is a file, which the flags name.
	Inline *string `json:"inline,omitempty"`
	// Links are the targets that stand for named contexts, by the contexts' names.
	Links map[string]string `json:"links,omitempty"`
	// Call is what is done instead of a build; empty: nothing else is.
	Call string `json:"call,omitempty"`
}

// Name is a target or a group that can be built.
type Name struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Group       bool   `json:"group,omitempty"`
}

// Variable is a variable that can be set.
type Variable struct {
	Name        string  `json:"name"`
	Description string  `json:"description,omitempty"`
	Type        string  `json:"type,omitempty"`
	Value       *string `json:"value,omitempty"`
}
