package inspect

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// OutlineResult says what the target of a request can be given: build arguments, secrets and SSH agents.
type OutlineResult struct {
	plan.Outline
	Source inputs.Source
}

// Outline finds out what the target of a Dockerfile can be given.
func Outline(ctx context.Context, in Dockerfile) (OutlineResult, error) {
	if in.Err != nil {
		return OutlineResult{}, in.Err
	}
	found, err := plan.MakeOutline(ctx, in.Parsed, in.Options)
	return OutlineResult{Outline: found, Source: in.Source}, err
}

// WriteText writes a table for each kind, as docker build --call=outline does.
func (r OutlineResult) WriteText(w io.Writer) error {
	t := table{out: w}
	if r.Name != "" || r.Description != "" {
		rows := [][]string{{"TARGET:", orDefault(r.Name)}}
		if r.Description != "" {
			rows = append(rows, []string{"DESCRIPTION:", r.Description})
		}
		t.write(1, rows)
	}
	if len(r.Args) > 0 {
		rows := [][]string{{"BUILD ARG", "VALUE", "DESCRIPTION"}}
		for _, a := range r.Args {
			rows = append(rows, []string{a.Name, a.Value, a.Description})
		}
		t.write(3, rows)
	}
	for _, kind := range []struct {
		title  string
		mounts []plan.OutlineMount
	}{{"SECRET", r.Secrets}, {"SSH", r.SSH}} {
		if len(kind.mounts) == 0 {
			continue
		}
		rows := [][]string{{kind.title, "REQUIRED"}}
		for _, m := range kind.mounts {
			required := ""
			if m.Required {
				required = "true"
			}
			rows = append(rows, []string{m.Name, required})
		}
		t.write(3, rows)
	}
	return t.err
}

// WriteJSON writes the result in the form of docker build --call=outline,format=json:
//
//	{
//	  "name": "...", "description": "...",
//	  "args": [{"name": "...", "description": "...", "value": "...", "location": LOCATION}],
//	  "secrets": [{"name": "...", "required": true, "location": LOCATION}],
//	  "ssh": [{"name": "default", "location": LOCATION}],
//	  "sources": ["BASE64"]
//	}
//
// What is empty or false is left out. LOCATION is as in [CheckResult.WriteJSON].
func (r OutlineResult) WriteJSON(w io.Writer) error {
	type jsonArg struct {
		Name        string       `json:"name"`
		Description string       `json:"description,omitempty"`
		Value       string       `json:"value,omitempty"`
		Location    jsonLocation `json:"location"`
	}
	type jsonMount struct {
		Name     string       `json:"name"`
		Required bool         `json:"required,omitempty"`
		Location jsonLocation `json:"location"`
	}
	mounts := func(all []plan.OutlineMount) (out []jsonMount) {
		for _, m := range all {
			out = append(out, jsonMount{m.Name, m.Required, newJSONLocation(m.Location)})
		}
		return out
	}
	out := struct {
		Name        string      `json:"name,omitempty"`
		Description string      `json:"description,omitempty"`
		Args        []jsonArg   `json:"args,omitempty"`
		Secrets     []jsonMount `json:"secrets,omitempty"`
		SSH         []jsonMount `json:"ssh,omitempty"`
		Sources     [][]byte    `json:"sources"`
	}{Name: r.Name, Description: r.Description, Secrets: mounts(r.Secrets), SSH: mounts(r.SSH),
		Sources: [][]byte{r.Source.Text}}
	for _, a := range r.Args {
		out.Args = append(out.Args, jsonArg{a.Name, a.Description, a.Value, newJSONLocation(a.Location)})
	}
	return writeJSON(w, out)
}

// TargetsResult are the stages that can be built.
type TargetsResult struct {
	Targets []plan.Target
	Source  inputs.Source
}

// Targets lists the stages of a Dockerfile. It looks at no image.
func Targets(in Dockerfile) (TargetsResult, error) {
	if in.Err != nil {
		return TargetsResult{}, in.Err
	}
	return TargetsResult{Targets: plan.Targets(in.Parsed), Source: in.Source}, nil
}

// WriteText writes a table, as docker build --call=targets does.
func (r TargetsResult) WriteText(w io.Writer) error {
	rows := [][]string{{"TARGET", "DESCRIPTION"}}
	for _, target := range r.Targets {
		name := target.Name
		switch {
		case target.Default && name == "":
			name = orDefault(name)
		case target.Default:
			name += " (default)"
		}
		rows = append(rows, []string{name, target.Description})
	}
	t := table{out: w, last: true}
	t.write(1, rows)
	return t.err
}

// WriteJSON writes the result in the form of docker build --call=targets,format=json:
//
//	{
//	  "targets": [{"name": "...", "default": true, "description": "...", "base": "...", "platform": "...",
//	    "location": LOCATION}],
//	  "sources": ["BASE64"]
//	}
//
// What is empty or false is left out. LOCATION is as in [CheckResult.WriteJSON].
func (r TargetsResult) WriteJSON(w io.Writer) error {
	type jsonTarget struct {
		Name        string       `json:"name,omitempty"`
		Default     bool         `json:"default,omitempty"`
		Description string       `json:"description,omitempty"`
		Base        string       `json:"base,omitempty"`
		Platform    string       `json:"platform,omitempty"`
		Location    jsonLocation `json:"location"`
	}
	out := struct {
		Targets []jsonTarget `json:"targets"`
		Sources [][]byte     `json:"sources"`
	}{Sources: [][]byte{r.Source.Text}}
	for _, t := range r.Targets {
		out.Targets = append(out.Targets, jsonTarget{t.Name, t.Default, t.Description, t.Base, t.Platform,
			newJSONLocation(t.Location)})
	}
	return writeJSON(w, out)
}

func orDefault(name string) string {
	if name == "" {
		return "(default)"
	}
	return name
}

// table writes tables with an empty line after each, but for a last one.
type table struct {
	out  io.Writer
	last bool
	err  error
}

func (t *table) write(padding int, rows [][]string) {
	if t.err != nil {
		return
	}
	w := tabwriter.NewWriter(t.out, 0, 0, padding, ' ', 0)
	for _, row := range rows {
		for n, cell := range row {
			if n > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, dockerfile.Printable(cell))
		}
		fmt.Fprintln(w)
	}
	t.err = w.Flush()
	if t.err == nil && !t.last {
		_, t.err = fmt.Fprintln(t.out)
	}
}
