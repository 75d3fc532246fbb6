package tomlfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/tomlfile"
)

func TestErrorsNameTheFileAndTheLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.toml")
	for text, want := range map[string]string{
		"a = 1\n":                                "",
		"a = 1\nb = = 2":                         path + ":2: ",
		"a = \"x\"\n":                            path + ": ",
		strings.Repeat("#\n", tomlfile.MaxBytes): path + ": is larger than 1 MiB",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got struct{ A int }
		_, err := tomlfile.Decode(path, &got)
		if want == "" && (err != nil || got.A != 1) || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%.20q: %+v, %v", text, got, err)
		}
	}
	if _, err := tomlfile.Decode(path+".none", new(int)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
