package command

import (
	"strings"
	"testing"
)

// row is what the templates are given.
type row struct {
	Repository, Tag, ID, CreatedSince, CreatedAt, Size string
	Names                                              []string
	Labels                                             map[string]string
}

func TestTemplatesAreGivenEachRow(t *testing.T) {
	t.Parallel()
	rows := []row{
		{ID: "1", Repository: "a", Names: []string{"x", "y"}, Labels: map[string]string{"k": "<v>"}, Size: "3B"},
		{ID: "2", Repository: "b"},
	}
	for format, want := range map[string]string{
		"{{.ID}}":                                "1\n2\n",
		`{{.Id}}\t{{.Repository | upper}}`:       "1\tA\n2\tB\n",
		`table {{.ID}}\t{{.Repository}}:`:        "IMAGE ID    REPOSITORY:\n1           a:\n2           b:\n",
		`table {{.CreatedSince}} {{.CreatedAt}}`: "CREATED CREATED AT\n \n \n",
		`{{join .Names "+"}}{{json .Labels}}`:    `x+y{"k":"<v>"}` + "\nnull\n",
		`{{title "ab"}}{{truncate .Size 1}}{{pad "c" 1 1}}{{lower "D"}}{{len (split "a b" " ")}}`: "Ab3 c d2\nAb c d2\n",
		`{{with .Names}}{{index . 0}}{{end}}`:                                                     "x\n\n",
	} {
		l, err := ReadLayout[row](format)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		var got strings.Builder
		if err := WriteRows(&got, l, true, rows); err != nil || got.String() != want {
			t.Errorf("%s gives\n%s%v\nwant\n%s", format, got.String(), err, want)
		}
	}
}

func TestWrongTemplatesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"{{.ID":             "--format: unclosed action",
		"{{.Size}}{{.Foo}}": "--format: there is no field .Foo\nhint: the fields are .Repository .Tag .ID ",
		"{{foo .ID}}":       `--format: function "foo" not defined`,
	} {
		if _, err := ReadLayout[row](format); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", format, err)
		}
	}
	l, err := ReadLayout[row]("{{index .Names 0}}")
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteRows(&strings.Builder{}, l, true, []row{{}}); err == nil ||
		!strings.HasPrefix(err.Error(), "--format: ") {
		t.Errorf("an index without elements: %v", err)
	}
}
