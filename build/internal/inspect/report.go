package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// WriteText writes the result as docker build --check does. Err is left to the caller.
func (r CheckResult) WriteText(w io.Writer) error {
	var err error
	say := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	switch n := len(r.Warnings); {
	case n == 1:
		say("Check complete, 1 warning has been found!\n")
	case n > 1:
		say("Check complete, %d warnings have been found!\n", n)
	case r.Err == nil:
		say("Check complete, no warnings found.\n")
	}
	lines := strings.Split(string(r.Source.Text), "\n")
	for _, found := range r.Warnings {
		say("\nWARNING: %s", found.Rule)
		if found.URL != "" {
			say(" - %s", found.URL)
		}
		say("\n%s\n%s", dockerfile.Printable(found.Message), dockerfile.Excerpt(lines, found.Location))
	}
	return err
}

// WriteJSON writes the result in the form of docker build --call=check,format=json, indented:
//
//	{
//	  "warnings": [{"ruleName": "...", "description": "...", "url": "...", "detail": "...", "location": LOCATION}],
//	  "sources": [{"filename": "Dockerfile", "language": "Dockerfile", "data": "BASE64"}],
//	  "buildError": {"message": "...", "location": LOCATION}
//	}
//
// LOCATION is {"ranges": [{"start": {"line": 2}, "end": {"line": 3}}]}, with a range for each line,
// counted from 1, or {} for the file as a whole. All locations are in the first source. Warnings are sorted by line,
// rule and detail. "buildError" is there only if the Dockerfile can't be built. New fields may be added.
func (r CheckResult) WriteJSON(w io.Writer) error {
	out := struct {
		Warnings []jsonWarning   `json:"warnings"`
		Sources  []jsonSource    `json:"sources"`
		Error    *jsonBuildError `json:"buildError,omitempty"`
	}{Warnings: []jsonWarning{}, Sources: []jsonSource{{r.Source.Name, "Dockerfile", r.Source.Text}}}
	for _, found := range r.Warnings {
		out.Warnings = append(out.Warnings, jsonWarning{
			RuleName: found.Rule, Description: found.Description, URL: found.URL, Detail: found.Message,
			Location: newJSONLocation(found.Location),
		})
	}
	if r.Err != nil {
		out.Error = &jsonBuildError{Message: r.Err.Error()}
		if placed := new(dockerfile.Error); errors.As(r.Err, &placed) {
			out.Error.Message, out.Error.Location = placed.Summary(), newJSONLocation(placed.Location)
		}
	}
	return writeJSON(w, out)
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

type jsonWarning struct {
	RuleName    string       `json:"ruleName"`
	Description string       `json:"description,omitempty"`
	URL         string       `json:"url,omitempty"`
	Detail      string       `json:"detail,omitempty"`
	Location    jsonLocation `json:"location"`
}

type jsonSource struct {
	Filename string `json:"filename"`
	Language string `json:"language"`
	Data     []byte `json:"data"`
}

type jsonBuildError struct {
	Message  string       `json:"message"`
	Location jsonLocation `json:"location"`
}

type jsonLocation struct {
	Ranges []jsonRange `json:"ranges,omitempty"`
}

type jsonRange struct {
	Start jsonPosition `json:"start"`
	End   jsonPosition `json:"end"`
}

type jsonPosition struct {
	Line int `json:"line"`
}

func newJSONLocation(loc dockerfile.Location) jsonLocation {
	if loc.StartLine < 1 {
		return jsonLocation{}
	}
	var l jsonLocation
	for line := loc.StartLine; line <= max(loc.StartLine, loc.EndLine); line++ {
		l.Ranges = append(l.Ranges, jsonRange{jsonPosition{line}, jsonPosition{line}})
	}
	return l
}
