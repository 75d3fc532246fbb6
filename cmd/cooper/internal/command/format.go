package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"text/template/parse"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// A Layout is a --format that was read: JSON, or a template that each row is given to.
type Layout struct {
	json, table bool
	row         *template.Template
	// names are headings for fields whose heading isn't made of their name.
	names map[string]string
}

// Named gives a layout that writes other headings, by the names of their fields.
func (l Layout) Named(names map[string]string) Layout {
	l.names = names
	return l
}

// JSON tells whether the format asks for the rows as JSON, which the caller writes.
func (l Layout) JSON() bool { return l.json }

// LineFormat is a --format with what tools differ in: docker has the word table for the usual columns, which an empty
// format is here, and its json is an object on each line.
func LineFormat(env Env, format string) string {
	switch word := strings.TrimSpace(format); {
	case word == "table":
		return ""
	case word == "json" && env.Dialect == dialect.Docker:
		return "{{json .}}"
	}
	return format
}

// tablePrefix begins a format with a line above the rows and aligned columns.
const tablePrefix = "table "

// ReadLayout reads a --format for rows of type T, which is no pointer. What is wrong with it is a usage error.
func ReadLayout[T any](format string) (l Layout, err error) {
	var sample T
	if strings.TrimSpace(format) == "json" {
		return Layout{json: true}, nil
	}
	text, table := strings.CutPrefix(format, tablePrefix)
	l.table = table
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	// podman's documentation has both spellings, and docker's inspect has this one.
	for _, name := range []string{"Id", "ParentId"} {
		if t := reflect.TypeOf(sample); t.Kind() != reflect.Struct {
			break
		} else if _, own := t.FieldByName(name); !own {
			text = regexp.MustCompile(`\.`+name+`\b`).ReplaceAllString(text, "."+strings.TrimSuffix(name, "Id")+"ID")
		}
	}
	if l.row, err = template.New("--format").Funcs(formatFuncs()).Parse(text); err != nil {
		return l, Usagef("%w", withoutTemplate(err))
	}
	// An empty row has no elements to take by number, but all fields.
	if err := l.row.Execute(io.Discard, sample); err != nil {
		if _, field, ok := strings.Cut(err.Error(), "can't evaluate field "); ok {
			name, _, _ := strings.Cut(field, " ")
			return l, Usagef("--format: there is no field .%s\nhint: the fields are %s", name,
				strings.Join(fieldsOf(sample), " "))
		}
	}
	return l, nil
}

// withoutTemplate takes the library's name for what it works at out of an error.
func withoutTemplate(err error) error {
	text := strings.TrimPrefix(err.Error(), "template: ")
	return fmt.Errorf("%s", regexp.MustCompile(`^--format:\d+(:\d+)?: `).ReplaceAllString(text, "--format: "))
}

func fieldsOf(sample any) (names []string) {
	t := reflect.TypeOf(sample)
	for i := range t.NumField() {
		names = append(names, "."+t.Field(i).Name)
	}
	return names
}

// formatFuncs are the functions that docker's and podman's templates have.
func formatFuncs() template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) {
			var text bytes.Buffer
			e := json.NewEncoder(&text)
			e.SetEscapeHTML(false)
			err := e.Encode(v)
			return strings.TrimSuffix(text.String(), "\n"), err
		},
		"join":  strings.Join,
		"split": strings.Split,
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"title": func(s string) string {
			if s == "" {
				return s
			}
			return strings.ToUpper(s[:1]) + s[1:]
		},
		"truncate": func(s string, n int) string { return string([]rune(s)[:max(0, min(n, len([]rune(s))))]) },
		"pad": func(s string, before, after int) string {
			return strings.Repeat(" ", max(0, before)) + s + strings.Repeat(" ", max(0, after))
		},
	}
}

// WriteRows writes each row with the layout's template, below headings if it is a table that is to have some.
func WriteRows[T any](w io.Writer, l Layout, headings bool, rows []T) error {
	out := w
	if l.table {
		t := tabwriter.NewWriter(w, 12, 2, 2, ' ', 0)
		out = t
		if headings {
			fmt.Fprintln(t, l.headings())
		}
	}
	for _, r := range rows {
		if err := l.write(out, r); err != nil {
			return err
		}
	}
	if t, ok := out.(*tabwriter.Writer); ok {
		return t.Flush()
	}
	return nil
}

func (l Layout) write(w io.Writer, row any) error {
	var line bytes.Buffer
	if err := l.row.Execute(&line, row); err != nil {
		return Usagef("%w", withoutTemplate(err))
	}
	line.WriteByte('\n')
	_, err := w.Write(line.Bytes())
	return err
}

// headings are the names of the fields that the template shows, in the places of their values.
func (l Layout) headings() string {
	var line strings.Builder
	for _, n := range l.row.Root.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			line.Write(n.Text)
		case *parse.ActionNode:
			line.WriteString(l.heading(n))
		}
	}
	return line.String()
}

// heading is the name of the last field that an action mentions: CREATED AT for CreatedAt.
func (l Layout) heading(n *parse.ActionNode) string {
	fields := regexp.MustCompile(`\.[A-Z]\w*`).FindAllString(n.String(), -1)
	if len(fields) == 0 {
		return ""
	}
	name := fields[len(fields)-1][1:]
	if text, ok := l.names[name]; ok {
		return text
	}
	switch name {
	case "ID":
		return "IMAGE ID"
	case "CreatedSince":
		return "CREATED"
	}
	words := regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "$1 $2")
	return strings.ToUpper(words)
}

// PrintableAll is printable for each of some texts.
func PrintableAll(texts []string) []string {
	all := slices.Clone(texts)
	for i := range all {
		all[i] = Printable(all[i])
	}
	return all
}
