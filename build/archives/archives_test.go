package archives

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/imagetar"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/session/sessiontest"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// save writes images to a place of the test's, and gives it.
func save(t *testing.T, s *sessiontest.Session, spec export.Spec, names ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "saved")
	spec.Dest = path
	if err := Save(t.Context(), s.Session, SaveRequest{Images: names, Spec: spec}); err != nil {
		t.Fatal(err)
	}
	return path
}

// load puts what a file has into a store of its own, and gives the images.
func load(t *testing.T, req LoadRequest) (s *sessiontest.Session, all []Loaded) {
	t.Helper()
	s = sessiontest.Open(t)
	req.Loaded = func(l Loaded) { all = append(all, l) }
	if err := Load(t.Context(), s.Session, req); err != nil {
		t.Fatal(err)
	}
	return s, all
}

// forms are all that can be written and read.
func forms() map[string]export.Spec {
	return map[string]export.Spec{
		"docker's archive": {Type: export.TypeDocker}, "OCI's archive": {Type: export.TypeOCI},
		"OCI's layout":       {Type: export.TypeOCI, Directory: true},
		"compressed":         {Type: export.TypeOCI, Compression: export.Zstd},
		"skopeo's directory": {Type: export.TypeDir},
	}
}

func TestAnImageIsTheSameWhenItWasSavedAndLoaded(t *testing.T) {
	t.Parallel()
	for name, spec := range forms() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sessiontest.Open(t)
			layers := storetest.Stack(t, s.Store, "", "a", "b")
			id := s.Put(t, sessiontest.Image{Steps: []string{"RUN a", "#ENV", "RUN b"},
				Config: ocispec.ImageConfig{Env: []string{"A=1"}}}, layers, "localhost/app:1")
			path := save(t, s, spec, "app:1")
			to, all := load(t, LoadRequest{Path: path})
			want := []Loaded{{ID: id, Names: []string{"localhost/app:1"}}}
			if spec.Type == export.TypeDir { // it has no name
				want[0].Names = nil
			}
			if diff := cmp.Diff(want, all); diff != "" {
				t.Fatalf("loaded (-want +got):\n%s", diff)
			}
			for _, l := range layers {
				found, err := to.Store.Store.Layer(l.ID)
				if err != nil || found.DiffID != l.DiffID {
					t.Errorf("layer %s: %+v, %v", l.ID, found, err)
				}
			}
			// A second time nothing changes.
			if err := Load(t.Context(), to.Session, LoadRequest{Path: path}); err != nil {
				t.Error(err)
			}
			if list, err := to.Store.Images.List(); err != nil || len(list) != 1 {
				t.Errorf("the store has %d images, %v", len(list), err)
			}
		})
	}
}

func TestSeveralImagesAreInOneFile(t *testing.T) {
	t.Parallel()
	for name, spec := range forms() {
		if spec.Type == export.TypeDir {
			continue // it has room for one
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sessiontest.Open(t)
			l := storetest.Stack(t, s.Store, "", "a", "b")
			one := s.Put(t, sessiontest.Image{Steps: []string{"RUN a"}}, l[:1], "localhost/one:1", "localhost/one:2")
			two := s.Put(t, sessiontest.Image{Steps: []string{"RUN a", "RUN b"}}, l, "localhost/two:1")
			path := save(t, s, spec, "one:1", "two:1", one, "one:2", "one:1")
			_, all := load(t, LoadRequest{Path: path})
			got := map[string][]string{}
			for _, l := range all {
				got[l.ID] = append(got[l.ID], l.Names...)
			}
			for _, names := range got {
				slices.Sort(names)
			}
			want := map[string][]string{one: {"localhost/one:1", "localhost/one:2"}, two: {"localhost/two:1"}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("loaded (-want +got):\n%s", diff)
			}
			for only, id := range map[string]string{"two:1": two, "localhost/one:2": one, "one:1": one} {
				if _, all := load(t, LoadRequest{Path: path, Only: only}); len(all) != 1 || all[0].ID != id ||
					!slices.ContainsFunc(all[0].Names, func(n string) bool { return strings.HasSuffix(n, only) }) {
					t.Errorf("only %s: %v", only, all)
				}
			}
			err := Load(t.Context(), sessiontest.Open(t).Session, LoadRequest{Path: path, Only: "three:1"})
			if err == nil || !strings.Contains(err.Error(), path+" has no image three:1, it has localhost/one:1") {
				t.Errorf("one that it hasn't: %v", err)
			}
		})
	}
}

func TestAnImageIsSavedWithTheNamesThatAreGiven(t *testing.T) {
	t.Parallel()
	s := sessiontest.Open(t)
	id := s.Put(t, sessiontest.Image{}, storetest.Stack(t, s.Store, "", "a"), "localhost/app:1", "localhost/app:2")
	for _, given := range []string{id, id[:12], "sha256:" + id} {
		path := save(t, s, export.Spec{Type: export.TypeDocker}, given)
		if _, all := load(t, LoadRequest{Path: path}); len(all) != 1 || len(all[0].Names) > 0 || all[0].ID != id {
			t.Errorf("by %s: %v", given, all)
		}
		err := Load(t.Context(), sessiontest.Open(t).Session, LoadRequest{Path: path, Only: "app:1"})
		if err == nil || err.Error() != path+" has no image app:1, it has none with a name" {
			t.Errorf("by name: %v", err)
		}
	}
}

func TestAnIndexIsSavedForOnePlatform(t *testing.T) {
	t.Parallel()
	s := sessiontest.Open(t)
	l := storetest.Stack(t, s.Store, "", "a")
	record := images.IndexRecord{Names: []string{"localhost/app:1"}, Format: imagebuilder.OCI}
	ids := map[string]string{}
	for _, text := range []string{"linux/amd64", "linux/arm64"} {
		ids[text] = s.Put(t, sessiontest.Image{Platform: text}, l)
		record.Images = append(record.Images, images.IndexedImage{ID: ids[text], Platform: platforms.MustParse(text)})
	}
	if _, err := s.Store.Images.PutIndex(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	for text, id := range ids {
		p := platforms.MustParse(text)
		path := filepath.Join(t.TempDir(), "saved")
		err := Save(t.Context(), s.Session, SaveRequest{Images: []string{"app:1"}, Platform: &p,
			Spec: export.Spec{Type: export.TypeOCI, Dest: path}})
		if err != nil {
			t.Fatal(err)
		}
		if _, all := load(t, LoadRequest{Path: path, Platform: &p}); len(all) != 1 || all[0].ID != id {
			t.Errorf("%s: %v, want %s", text, all, id)
		}
	}
	p := platforms.MustParse("linux/s390x")
	err := Save(t.Context(), s.Session, SaveRequest{Images: []string{"app:1"}, Platform: &p,
		Spec: export.Spec{Type: export.TypeOCI, Dest: filepath.Join(t.TempDir(), "saved")}})
	if !errors.Is(err, images.ErrNoImage) || !strings.Contains(err.Error(), "there are linux/amd64, linux/arm64") {
		t.Errorf("a platform that it hasn't: %v", err)
	}
}

func TestStandardOutputAndInputAreFiles(t *testing.T) {
	t.Parallel()
	s := sessiontest.Open(t)
	id := s.Put(t, sessiontest.Image{}, storetest.Stack(t, s.Store, "", "a"), "localhost/app:1")
	var out bytes.Buffer
	if err := Save(t.Context(), s.Session, SaveRequest{Images: []string{"app:1"}, Stdout: &out,
		Spec: export.Spec{Type: export.TypeDocker, Dest: export.Stdout}}); err != nil {
		t.Fatal(err)
	}
	for _, only := range []string{"", "none"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		wrote := make(chan error, 1)
		go func() {
			_, err := io.Copy(w, bytes.NewReader(out.Bytes()))
			wrote <- errors.Join(err, w.Close())
		}()
		to := sessiontest.Open(t)
		err = Load(t.Context(), to.Session, LoadRequest{Stdin: r, Only: only})
		if only == "" && (err != nil || !to.Store.Images.Has(id)) {
			t.Errorf("loaded: %v", err)
		}
		if only != "" && (err == nil || err.Error() != "standard input has no image none, it has localhost/app:1") {
			t.Errorf("one that it hasn't: %v", err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
}

// TestWhatCanNotBeSavedLeavesNothing in the place of the file, and what was there stays.
func TestWhatCanNotBeSavedLeavesNothing(t *testing.T) {
	t.Parallel()
	s := sessiontest.Open(t)
	l := storetest.Stack(t, s.Store, "", "a")
	s.Put(t, sessiontest.Image{}, l, "localhost/app:1")
	why := errors.New("the user has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for name, test := range map[string]struct {
		ctx    context.Context //nolint:containedctx // it is a case's
		names  []string
		dest   string
		is     error
		closed bool
	}{
		"no image":                {t.Context(), nil, "saved", nil, false},
		"an image that isn't one": {t.Context(), []string{"app:1", "none"}, "saved", images.ErrNoImage, false},
		"no store":                {t.Context(), []string{"app:1"}, "saved", images.ErrNoImage, true},
		"a directory that is not": {t.Context(), []string{"app:1"}, "none/saved", os.ErrNotExist, false},
		"an interrupted one":      {ctx, []string{"app:1"}, "saved", why, false},
	} {
		for kind, spec := range forms() {
			dir := t.TempDir()
			if err := os.WriteFile(dir+"/other", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			spec.Dest = filepath.Join(dir, test.dest)
			in := s.Session
			if test.closed {
				in = sessiontest.Closed(t)
			}
			err := Save(test.ctx, in, SaveRequest{Images: test.names, Spec: spec})
			if err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("%s, %s: left %v, %v", name, kind, left, err)
			}
		}
	}
}

// fileOf makes an archive of files by name.
func fileOf(t *testing.T, files map[string]any) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		text, is := content.([]byte)
		if !is {
			var err error
			if text, err = json.Marshal(content); err != nil {
				t.Fatal(err)
			}
		}
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
		_, written := w.Write(text)
		if err := errors.Join(err, written); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "file.tar")
	if err := errors.Join(w.Close(), os.WriteFile(path, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

type entry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// TestFilesThatHoldNoImageAreTold and nothing of them comes into the store.
func TestFilesThatHoldNoImageAreTold(t *testing.T) {
	t.Parallel()
	var layer bytes.Buffer
	if err := tar.NewWriter(&layer).Close(); err != nil {
		t.Fatal(err)
	}
	sum := digest.FromBytes(layer.Bytes())
	good := map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers",
		"diff_ids": []digest.Digest{sum}}}
	wrong := map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers",
		"diff_ids": []digest.Digest{digest.FromString("another")}}}
	all := func(config any, e entry) map[string]any {
		return map[string]any{"manifest.json": []entry{e}, "c.json": config, "l.tar": layer.Bytes()}
	}
	for name, test := range map[string]struct {
		files map[string]any
		want  string
	}{
		"nothing":             {map[string]any{"x": []byte("text")}, ""},
		"no JSON":             {map[string]any{"manifest.json": []byte("{")}, ""},
		"no config":           {map[string]any{"manifest.json": []entry{{Config: "c.json"}}}, "c.json"},
		"a layer that is not": {all(good, entry{Config: "c.json", Layers: []string{"none.tar"}}), "none.tar"},
		"fewer layers":        {all(good, entry{Config: "c.json"}), "layer"},
		"another layer":       {all(wrong, entry{Config: "c.json", Layers: []string{"l.tar"}}), "digest"},
		"a name that is none": {all(good, entry{"c.json", []string{"A B"}, []string{"l.tar"}}),
			`the name "A B" of an image`},
		"a name to be clipped": {all(good, entry{"c.json", []string{strings.Repeat("\x1b[2J", 5000)}, []string{"l.tar"}}),
			"of an image"},
	} {
		s := sessiontest.Open(t)
		err := Load(t.Context(), s.Session, LoadRequest{Path: fileOf(t, test.files)})
		if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 5000 {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if list, err := s.Store.Images.List(); err != nil || len(list) > 0 {
			t.Errorf("%s: the store has %v, %v", name, list, err)
		}
	}
	if err := Load(t.Context(), sessiontest.Open(t).Session, LoadRequest{Path: "/nowhere/at/all"}); !errors.Is(err,
		os.ErrNotExist) {
		t.Errorf("a file that isn't there: %v", err)
	}
}

// TestAnImageThatCanNotBeLoadedLeavesThoseBeforeIt and their names.
func TestAnImageThatCanNotBeLoadedLeavesThoseBeforeIt(t *testing.T) {
	t.Parallel()
	config := func(ids ...digest.Digest) any {
		return map[string]any{"os": "linux", "architecture": "amd64",
			"rootfs": map[string]any{"type": "layers", "diff_ids": append([]digest.Digest{}, ids...)}}
	}
	var layer bytes.Buffer
	if err := tar.NewWriter(&layer).Close(); err != nil {
		t.Fatal(err)
	}
	path := fileOf(t, map[string]any{"manifest.json": []entry{
		{"a.json", []string{"a:1", "b:1"}, []string{"l.tar"}}, {"b.json", []string{"c:1"}, []string{"l.tar"}},
	}, "a.json": config(digest.FromBytes(layer.Bytes())), "b.json": config(digest.FromString("x")),
		"l.tar": layer.Bytes()})
	s := sessiontest.Open(t)
	var told []Loaded
	err := Load(t.Context(), s.Session, LoadRequest{Path: path, Loaded: func(l Loaded) { told = append(told, l) }})
	if err == nil || !strings.HasPrefix(err.Error(), "load docker.io/library/c:1: ") {
		t.Errorf("got %v", err)
	}
	if want := []string{"docker.io/library/a:1", "docker.io/library/b:1"}; len(told) != 1 ||
		!slices.Equal(told[0].Names, want) {
		t.Errorf("told of %v", told)
	}
	for name, there := range map[string]bool{"docker.io/library/a:1": true, "docker.io/library/b:1": true,
		"docker.io/library/c:1": false} {
		if _, _, err := s.Store.Images.LookUp(name); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNamesInFilesAreMadeFull(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		docker bool
		name   string
		want   []string
	}{
		{true, "app", []string{"docker.io/library/app:latest"}}, {true, "team/app:1", []string{"docker.io/team/app:1"}},
		{false, "app", []string{"localhost/app:latest"}}, {false, "example.test/app:1", []string{"example.test/app:1"}},
		{true, "example.test/app@" + digest.FromString("x").String(), nil},
	} {
		got, err := namesOf(imagetar.Image{Docker: test.docker, Names: []string{test.name}})
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%+v: %q, %v", test, got, err)
		}
	}
}
