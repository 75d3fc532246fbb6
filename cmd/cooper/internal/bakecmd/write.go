package bakecmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/internal/bakefile"
)

// WriteDefinition writes what --print prints.
func WriteDefinition(w io.Writer, a bakefile.Answer) error {
	var text bytes.Buffer
	if err := json.Indent(&text, a.Definition, "", "  "); err != nil {
		return fmt.Errorf("write definition: %w", err)
	}
	text.WriteByte('\n')
	_, err := w.Write(text.Bytes())
	return err
}

// List is a --list.
type List struct{ Variables, JSON bool }

// ParseList reads --list: targets or variables, or type=TYPE[,format=table|json].
func ParseList(text string) (l List, err error) {
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			key, value = "type", key
		}
		switch {
		case key == "type" && (value == "targets" || value == "variables"):
			l.Variables = value == "variables"
		case key == "format" && (value == "table" || value == "json"):
			l.JSON = value == "json"
		default:
			return l, command.Usagef("--list=%s: must be targets or variables, or type=TYPE,format=json", text)
		}
	}
	return l, nil
}

// Write writes the targets or the variables of bake files.
func (l List) Write(w io.Writer, a bakefile.Answer) error {
	if l.JSON {
		var rows any = a.Names
		if l.Variables {
			rows = a.Variables
		}
		return command.WriteIndented(w, rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if l.Variables {
		fmt.Fprintln(t, "VARIABLE\tTYPE\tVALUE\tDESCRIPTION")
		for _, v := range a.Variables {
			value := "<null>"
			if v.Value != nil {
				value = *v.Value
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Name, v.Type, value, v.Description)
		}
		return t.Flush()
	}
	fmt.Fprintln(t, "TARGET\tDESCRIPTION")
	for _, n := range a.Names {
		fmt.Fprintf(t, "%s\t%s\n", n.Name, n.Description)
	}
	return t.Flush()
}
