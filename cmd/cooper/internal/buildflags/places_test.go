package buildflags

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

func TestATagWithATransportIsAnOutput(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]export.Spec{
		"oci:/d/L":              {Type: export.TypeOCI, Dest: "/d/L", Directory: true},
		"oci:/d/L:v1":           {Type: export.TypeOCI, Dest: "/d/L", Directory: true, Names: []string{"l:v1"}},
		"oci-archive:./f.tar":   {Type: export.TypeOCI, Dest: "./f.tar"},
		"docker-archive:/f:a:1": {Type: export.TypeDocker, Dest: "/f", Names: []string{"a:1"}},
		"dir:/d:e":              {Type: export.TypeDir, Dest: "/d:e"},
		"docker://h/a:1":        {Type: export.TypeRegistry, Names: []string{"h/a:1"}, Push: &export.PushSpec{}},
	} {
		for _, d := range []dialect.Dialect{dialect.Cooper, dialect.Podman} {
			names, got, err := SplitPlaces(d, []string{"x", tag, "containers-storage:/y"})
			if err != nil || len(got) != 1 || len(names) != 2 || names[0] != "x" || names[1] != "/y" {
				t.Errorf("%s %s: %q, %+v, %v", d, tag, names, got, err)
				continue
			}
			if want.Push != nil && got[0].Push != nil {
				want.Push = got[0].Push
			}
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tag, diff)
			}
		}
	}
	if names, got, err := SplitPlaces(dialect.Docker, []string{"oci:1", "dir:x"}); len(names) != 2 || len(got) > 0 ||
		err != nil {
		t.Errorf("%q, %+v, %v", names, got, err)
	}
	for _, tag := range []string{"docker:a/b", "oci:", "dir:", "docker-archive:"} {
		if _, _, err := SplitPlaces(dialect.Buildah, []string{tag}); err == nil {
			t.Errorf("%s: no error", tag)
		}
	}
}
