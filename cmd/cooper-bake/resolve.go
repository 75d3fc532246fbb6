package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/buildx/bake"
	"github.com/docker/buildx/build"

	"github.com/cooperbuild/cooper/internal/bakefile"
)

// read reads the files of a question, and gives what is predefined in them and what the user has set.
func read(q bakefile.Question, stdin io.Reader) (f files, err error) {
	if f.files, err = bake.ReadLocalFiles(q.Files, stdin, nil); err != nil {
		return f, err
	}
	if len(f.files) == 0 {
		return f, errNoFile
	}
	f.defaults = map[string]string{
		"BAKE_CMD_CONTEXT": "cwd://", "BAKE_LOCAL_PLATFORM": platforms.Format(platforms.DefaultSpec()),
	}
	f.vars = map[string]string{}
	for _, text := range q.Vars {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return f, fmt.Errorf("--var %q: must be NAME=VALUE", text)
		}
		f.vars[name] = value
	}
	const relative = "BUILDX_BAKE_FILE_RELATIVE_PATHS"
	if text := os.Getenv(relative); text != "" {
		if f.option.FileRelativePaths, err = strconv.ParseBool(text); err != nil {
			return f, fmt.Errorf("%s=%s: must be true or false", relative, text)
		}
	}
	return f, nil
}

// files are bake files, with the variables that are given to them.
type files struct {
	files          []bake.File
	defaults, vars map[string]string
	option         bake.ParseOpt
}

// resolve gives what is to be built.
func resolve(ctx context.Context, q bakefile.Question, stdin io.Reader) (bakefile.Answer, error) {
	f, err := read(q, stdin)
	if err != nil {
		return bakefile.Answer{}, err
	}
	allowed, err := bake.ParseEntitlements(q.Allow)
	if err != nil {
		return bakefile.Answer{}, fmt.Errorf("--allow: %w", err)
	}
	here, err := os.Getwd()
	if err != nil {
		return bakefile.Answer{}, err
	}
	allowed.FSRead, allowed.FSWrite = append(allowed.FSRead, here), append(allowed.FSWrite, here)

	targets, groups, err := bake.ReadTargets(ctx, f.files, q.Targets, q.Overrides, f.defaults, f.vars, &allowed, f.option)
	if err != nil {
		return bakefile.Answer{}, err
	}
	addDate(targets)
	builds, err := bake.TargetsToBuildOpt(targets, nil) // it also writes the contexts' paths into the targets
	if err != nil {
		return bakefile.Answer{}, err
	}
	a := bakefile.Answer{}
	if a.Definition, err = json.Marshal(definition{Group: groups, Target: targets}); err != nil {
		return bakefile.Answer{}, err
	}
	if q.Print {
		return a, nil
	}
	if err := check(ctx, q, allowed, builds); err != nil {
		return bakefile.Answer{}, err
	}
	a.Targets, err = all(targets, builds)
	return a, err
}

// definition is what --print prints.
type definition struct {
	Group  map[string]*bake.Group  `json:"group,omitempty"`
	Target map[string]*bake.Target `json:"target"`
}

// addDate makes SOURCE_DATE_EPOCH of the environment an argument of targets that have none.
func addDate(targets map[string]*bake.Target) {
	const name = "SOURCE_DATE_EPOCH"
	date := os.Getenv(name)
	if date == "" {
		return
	}
	for _, t := range targets {
		if t.Args == nil {
			t.Args = map[string]*string{}
		}
		if _, ok := t.Args[name]; !ok {
			t.Args[name] = &date
		}
	}
}

// check refuses what the files ask for and nobody has allowed.
func check(ctx context.Context, q bakefile.Question, allowed bake.EntitlementConf,
	builds map[string]build.Options) error {
	missing, err := allowed.Validate(builds)
	if err != nil {
		return err
	}
	if !q.Ask {
		return missing.Check(false)
	}
	if len(q.Command) > 0 {
		os.Args = q.Command //nolint:reassign // the library shows it with the flags that are missing
	}
	return missing.Prompt(ctx, false, os.Stderr)
}
