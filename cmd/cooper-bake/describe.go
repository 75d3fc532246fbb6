package main

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/docker/buildx/bake"

	"github.com/cooperbuild/cooper/internal/bakefile"
)

// describe gives the targets, groups and variables of the files. Names that begin with _ are for the file itself.
func describe(_ context.Context, q bakefile.Question, stdin io.Reader) (a bakefile.Answer, err error) {
	f, err := read(q, stdin)
	if err != nil {
		return a, err
	}
	config, meta, err := bake.ParseFiles(f.files, f.defaults, f.vars, f.option)
	if err != nil {
		return a, err
	}
	for _, t := range config.Targets {
		a.Names = append(a.Names, bakefile.Name{Name: t.Name, Description: t.Description})
	}
	for _, g := range config.Groups {
		about, targets := g.Description, strings.Join(slices.Sorted(slices.Values(g.Targets)), ", ")
		switch {
		case about == "":
			about = targets
		case targets != "":
			about += " (" + targets + ")"
		}
		a.Names = append(a.Names, bakefile.Name{Name: g.Name, Description: about, Group: true})
	}
	a.Names = slices.DeleteFunc(a.Names, func(n bakefile.Name) bool { return strings.HasPrefix(n.Name, "_") })
	slices.SortStableFunc(a.Names, func(a, b bakefile.Name) int { return cmp.Compare(a.Name, b.Name) })
	for _, v := range meta.AllVariables {
		a.Variables = append(a.Variables,
			bakefile.Variable{Name: v.Name, Description: v.Description, Type: v.Type, Value: v.Value})
	}
	slices.SortFunc(a.Variables, func(a, b bakefile.Variable) int { return cmp.Compare(a.Name, b.Name) })
	return a, nil
}
