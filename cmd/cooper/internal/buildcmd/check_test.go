package buildcmd

import (
	"errors"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestCallsAreParsedOrRefusedByName(t *testing.T) {
	tests := map[string]struct {
		want Call
		err  string
	}{
		"":                               {Call{Method: "build"}, ""},
		"build":                          {Call{Method: "build"}, ""},
		"check":                          {Call{Method: "check"}, ""},
		"lint":                           {Call{Method: "check"}, ""},
		"outline,format=json":            {Call{Method: "outline", JSON: true}, ""},
		"targets,format=text":            {Call{Method: "targets"}, ""},
		"check,ignorestatus,format=json": {Call{Method: "check", JSON: true, IgnoreStatus: true}, ""},
		"check,ignorestatus=false":       {Call{Method: "check"}, ""},
		"subrequests.describe":           {Call{}, "--call=subrequests.describe: must be build, check, outline or targets"},
		"check,format=xml": {Call{},
			`--call=check,format=xml: "format=xml" must be format=text, format=json or ignorestatus`},
		"outline,format=json,output=file": {Call{},
			`--call=outline,format=json,output=file: "output=file" must be format=text, format=json or ignorestatus`},
	}
	for text, tt := range tests {
		got, err := ParseCall(text)
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
