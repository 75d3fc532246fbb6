package cli

import (
	"errors"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestCallsAreParsedOrRefusedByName(t *testing.T) {
	tests := map[string]struct {
		want call
		err  string
	}{
		"":                               {call{method: "build"}, ""},
		"build":                          {call{method: "build"}, ""},
		"check":                          {call{method: "check"}, ""},
		"lint":                           {call{method: "check"}, ""},
		"outline,format=json":            {call{method: "outline", json: true}, ""},
		"targets,format=text":            {call{method: "targets"}, ""},
		"check,ignorestatus,format=json": {call{method: "check", json: true, ignoreStatus: true}, ""},
		"check,ignorestatus=false":       {call{method: "check"}, ""},
		"subrequests.describe":           {call{}, "--call=subrequests.describe: must be build, check, outline or targets"},
		"check,format=xml": {call{},
			`--call=check,format=xml: "format=xml" must be format=text, format=json or ignorestatus`},
		"outline,format=json,output=file": {call{},
			`--call=outline,format=json,output=file: "output=file" must be format=text, format=json or ignorestatus`},
	}
	for text, tt := range tests {
		got, err := parseCall(text)
		if tt.err != "" {
			if usage := new(command.UsageError); !errors.As(err, usage) || err.Error() != tt.err {
				t.Errorf("%q: got %v", text, err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}
