package mend_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// crashed is a store with two images, "whole" and "hurt" on a layer more, as a machine finds it that was stopped.
type crashed struct {
	options store.Options
	// lower and upper are the layers of "hurt"; the first is that of "whole", too.
	lower, upper store.Layer
	told         []string
}

// crash makes a store whose layers were not written to the disk for sure when it was last used.
func crash(t *testing.T, o store.Options) *crashed {
	t.Helper()
	c := &crashed{options: o}
	c.options.Root = t.TempDir()
	c.options.Tell = func(text string) { c.told = append(c.told, text) }
	s, err := depot.Open(t.Context(), c.options)
	if err != nil {
		t.Fatal(err)
	}
	c.lower, _ = storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "lower"), "lower") })
	c.upper, _ = storetest.Commit(t, s, c.lower.ID, func(dir string) {
		storetest.Write(t, filepath.Join(dir, "file"), "text")
		if err := errors.Join(os.Symlink("file", filepath.Join(dir, "link")),
			os.Mkdir(filepath.Join(dir, "empty"), 0o750)); err != nil {
			t.Fatal(err)
		}
	})
	putNamed(t, s, "localhost/whole:latest", c.lower)
	putNamed(t, s, "localhost/hurt:latest", c.lower, c.upper)
	if err := errors.Join(s.Store.Parts().Durable.Settle(), s.Close()); err != nil {
		t.Fatal(err)
	}
	storetest.Write(t, c.path("cooper/synced"), `{"uptime":"another"}`)
	return c
}

func putNamed(t *testing.T, s *depot.Depot, name string, layers ...store.Layer) {
	t.Helper()
	var diffIDs []digest.Digest
	for _, l := range layers {
		diffIDs = append(diffIDs, l.DiffID)
	}
	config, err := imagebuilder.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"}).MarshalConfig(diffIDs,
		time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Images.Put(t.Context(), images.Record{Config: config, Layers: layers,
		Names: []string{name}}); err != nil {
		t.Fatal(err)
	}
}

func (c *crashed) path(name string) string {
	name = strings.NewReplacer("UPPER", c.upper.ID, "LOWER", c.lower.ID).Replace(name)
	return filepath.Join(c.options.Root, name)
}

// find opens the store and tells which of the images are there.
func (c *crashed) find(t *testing.T) (whole, hurt bool) {
	t.Helper()
	s := storetest.Open(t, c.options)
	has := func(name string) bool {
		_, err := s.Images.Find(t.Context(), name)
		if err != nil && !errors.Is(err, images.ErrNoImage) {
			t.Error(err)
		}
		return err == nil
	}
	return has("localhost/whole:latest"), has("localhost/hurt:latest")
}

func TestNothingGoesAfterACrashThatCostNothing(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			c := crash(t, o)
			if whole, hurt := c.find(t); !whole || !hurt || len(c.told) > 0 {
				t.Errorf("the images are there: %v, %v; told %q", whole, hurt, c.told)
			}
			storetest.Write(t, filepath.Join(layerDir(t, c), "file"), "")
			if whole, hurt := c.find(t); !whole || !hurt {
				t.Error("what was measured is measured again without a crash")
			}
		})
	}
}

// layerDir is the directory of the upper layer's files.
func layerDir(t *testing.T, c *crashed) string {
	t.Helper()
	if c.options.Driver == "vfs" {
		return c.path("vfs/dir/UPPER")
	}
	return c.path("overlay/UPPER/diff")
}

func TestWhatLostFilesInACrashGoes(t *testing.T) {
	damages := map[string]struct {
		driver string
		do     func(t *testing.T, c *crashed) error
	}{
		"an empty file": {do: func(t *testing.T, c *crashed) error {
			return os.Truncate(filepath.Join(layerDir(t, c), "file"),
				0)
		}},
		"other text": {do: func(t *testing.T, c *crashed) error {
			return os.WriteFile(filepath.Join(layerDir(t, c), "file"), []byte("\x00\x00\x00\x00"), 0o600)
		}},
		"no file": {do: func(t *testing.T,
			c *crashed) error {
			return os.Remove(filepath.Join(layerDir(t, c), "file"))
		}},
		"no link": {driver: "overlay",
			do: func(t *testing.T, c *crashed) error { return os.Remove(filepath.Join(layerDir(t, c), "link")) }},
		"no directory": {driver: "overlay",
			do: func(t *testing.T, c *crashed) error { return os.Remove(filepath.Join(layerDir(t, c), "empty")) }},
		"another mode": {driver: "overlay",
			do: func(t *testing.T, c *crashed) error { return os.Chmod(filepath.Join(layerDir(t, c), "empty"), 0o700) }},
		"nothing at all": {do: func(t *testing.T, c *crashed) error { return os.RemoveAll(layerDir(t, c)) }},
		"no driver's": {driver: "overlay",
			do: func(_ *testing.T, c *crashed) error { return os.RemoveAll(c.path("overlay/UPPER")) }},
		"an empty link": {driver: "overlay",
			do: func(_ *testing.T, c *crashed) error { return os.Truncate(c.path("overlay/UPPER/link"), 0) }},
		"an empty lower": {driver: "overlay",
			do: func(_ *testing.T, c *crashed) error { return os.Truncate(c.path("overlay/UPPER/lower"), 0) }},
		"half a record": {driver: "overlay", do: func(_ *testing.T, c *crashed) error {
			return os.Truncate(c.path("overlay-layers/UPPER.tar-split.gz"), 20)
		}},
		"an empty record": {driver: "overlay", do: func(_ *testing.T, c *crashed) error {
			return os.Truncate(c.path("overlay-layers/UPPER.tar-split.gz"), 0)
		}},
		"what the layer below had": {driver: "vfs", do: func(t *testing.T, c *crashed) error {
			return os.Truncate(filepath.Join(layerDir(t, c), "lower"), 0)
		}},
	}
	for name, o := range storetest.Drivers() {
		for damage, d := range damages {
			if d.driver != "" && d.driver != o.Driver {
				continue
			}
			if damage == "another mode" && o.Portable {
				continue // others' tools may leave out what their user can't do
			}
			t.Run(name+"/"+damage, func(t *testing.T) {
				c := crash(t, o)
				if err := d.do(t, c); err != nil {
					t.Fatal(err)
				}
				if whole, hurt := c.find(t); !whole || hurt {
					t.Errorf("the images are there: %v, %v", whole, hurt)
				}
				if told := strings.Join(c.told, "\n"); !strings.Contains(told, "localhost/hurt:latest") ||
					strings.Contains(told, "whole") || len(c.told) != 1 {
					t.Errorf("told %q", c.told)
				}
				c.told = nil
				if c.find(t); len(c.told) > 0 {
					t.Errorf("told again: %q", c.told)
				}
			})
		}
	}
}

func TestALostLowerLayerTakesThoseAboveAlong(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			c := crash(t, o)
			dir := strings.ReplaceAll(layerDir(t, c), c.upper.ID, c.lower.ID)
			if err := os.Truncate(filepath.Join(dir, "lower"), 0); err != nil {
				t.Fatal(err)
			}
			whole, hurt := c.find(t)
			if told := strings.Join(c.told, ""); whole || hurt ||
				!strings.Contains(told, "localhost/hurt:latest, localhost/whole:latest") {
				t.Errorf("the images are there: %v, %v; told %q", whole, hurt, c.told)
			}
		})
	}
}

// TestAStoreWithoutItsListsCanBeUsed: each of the library's files may be empty, half or zeros.
func TestAStoreWithoutItsListsCanBeUsed(t *testing.T) {
	for _, list := range []string{"layers.json", "images.json", "containers.json", "volatile-layers.json",
		"volatile-containers.json", "layers.lock", "images.lock"} {
		for kind, text := range map[string]string{"empty": "", "half": `[{"id":"`, "zeros": "\x00\x00\x00\x00"} {
			t.Run(list+"/"+kind, func(t *testing.T) {
				c := crash(t, storetest.Drivers()["overlay"])
				dir := "overlay-" + strings.TrimPrefix(strings.TrimSuffix(strings.TrimSuffix(list, ".json"), ".lock"), "volatile-")
				storetest.Write(t, c.path(filepath.Join(dir, list)), text)
				whole, hurt := c.find(t)
				if lost := list == "layers.json" || list == "images.json"; whole == lost || hurt == lost {
					t.Errorf("the images are there: %v, %v", whole, hurt)
				}
				if said := len(c.told) > 0; said != (list == "layers.json" || list == "images.json" || list == "containers.json") {
					t.Errorf("told %q", c.told)
				}
				s := storetest.Open(t, c.options)
				l, _ := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "new"), "new") })
				putNamed(t, s, "localhost/new:latest", l)
			})
		}
	}
}

func TestWhatALayerIsOnIsDurableBeforeItsImage(t *testing.T) {
	c := crash(t, storetest.Drivers()["overlay"])
	s := storetest.Open(t, c.options)
	before, err := os.ReadFile(c.path("cooper/synced"))
	if err != nil {
		t.Fatal(err)
	}
	l, _ := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "new"), "new") })
	putNamed(t, s, "localhost/new:latest", l)
	after, err := os.ReadFile(c.path("cooper/synced"))
	if err != nil || len(after) <= len(before) {
		t.Errorf("%d bytes before, %d after: %v", len(before), len(after), err)
	}
	putNamed(t, s, "localhost/other:latest", l)
	if again, err := os.Stat(c.path("cooper/synced")); err != nil || again.Size() != int64(len(after)) {
		t.Error(err)
	}
}

// halve takes the manifests off the records of all images, as they are in the midst of being made.
func (c *crashed) halve(t *testing.T) {
	t.Helper()
	path := c.path("overlay-images/images.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var images []map[string]any
	if err := json.Unmarshal(text, &images); err != nil {
		t.Fatal(err)
	}
	for _, img := range images {
		names := slices.DeleteFunc(img["big-data-names"].([]any), func(name any) bool { return name == "manifest" })
		img["big-data-names"] = names
		delete(img["big-data-digests"].(map[string]any), "manifest")
		delete(img["big-data-sizes"].(map[string]any), "manifest")
	}
	if text, err = json.Marshal(images); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestHalfAnImageGoesAndItsLayersStay(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, c *crashed) error{
		"after a crash": func(*testing.T, *crashed) error { return nil },
		"after a killed build": func(t *testing.T, c *crashed) error {
			s, err := depot.Open(t.Context(), c.options) // there was no crash
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				return err
			}
			return os.WriteFile(c.path("cooper/builds/1"), nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := crash(t, storetest.Drivers()["overlay"])
			if err := errors.Join(os.MkdirAll(c.path("cooper/builds"), 0o700), leave(t, c)); err != nil {
				t.Fatal(err)
			}
			c.halve(t)
			s := storetest.Open(t, c.options)
			if _, err := s.Images.Find(t.Context(), "localhost/hurt:latest"); !errors.Is(err, images.ErrNoImage) {
				t.Errorf("half an image is found: %v", err)
			}
			if _, err := s.Store.Layer(c.upper.ID); err != nil {
				t.Error(err)
			}
			putNamed(t, s, "localhost/hurt:latest", c.lower, c.upper)
			if _, err := s.Images.Find(t.Context(), "localhost/hurt:latest"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHalfAnImageIsMadeWhole(t *testing.T) {
	c := crash(t, storetest.Drivers()["overlay"])
	first, err := depot.Open(t.Context(), c.options)
	if err == nil {
		err = first.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.halve(t)
	s := storetest.Open(t, c.options)
	putNamed(t, s, "localhost/hurt:latest", c.lower, c.upper)
	if _, err := s.Images.Find(t.Context(), "localhost/hurt:latest"); err != nil {
		t.Error(err)
	}
}

// TestAnEmptyLinkCostsNoOtherLayer: the library takes the name of an empty one for the directory of all.
func TestAnEmptyLinkCostsNoOtherLayer(t *testing.T) {
	for name, damage := range map[string]func(c *crashed) error{
		"of a layer": func(c *crashed) error { return os.Truncate(c.path("overlay/UPPER/link"), 0) },
		"of a layer that nobody knows": func(c *crashed) error {
			orphan := c.path("overlay/" + strings.Repeat("a", 64))
			return errors.Join(os.MkdirAll(filepath.Join(orphan, "diff"), 0o755), os.WriteFile(filepath.Join(orphan, "link"),
				nil, 0o600),
				os.Truncate(filepath.Join(c.path("overlay/UPPER/diff"), "file"), 0)) // so that others are looked for
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := crash(t, storetest.Drivers()["overlay"])
			links, err := os.ReadDir(c.path("overlay/l"))
			if err := errors.Join(err, damage(c)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond) // younger ones may be in the making
			if whole, hurt := c.find(t); !whole || hurt {
				t.Errorf("the images are there: %v, %v", whole, hurt)
			}
			if left, err := os.ReadDir(c.path("overlay/l")); err != nil || len(left) < len(links)-1 {
				t.Errorf("%d of %d links are left: %v", len(left), len(links), err)
			}
		})
	}
}

func TestLostLinksAreMadeAgain(t *testing.T) {
	c := crash(t, storetest.Drivers()["overlay"])
	if err := os.RemoveAll(c.path("overlay/l")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if whole, hurt := c.find(t); !whole || !hurt {
		t.Errorf("the images are there: %v, %v", whole, hurt)
	}
}

// TestAnInterruptedMendingIsDoneAgain by the next command, which finds what is lost.
func TestAnInterruptedMendingIsDoneAgain(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			c := crash(t, o)
			storetest.Write(t, filepath.Join(layerDir(t, c), "file"), "")
			stopped := errors.New("stopped by the user")
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(stopped)
			if s, err := depot.Open(ctx, c.options); !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, %v", s, err)
			}
			if len(c.told) > 0 {
				t.Errorf("told %q of what was not looked at", c.told)
			}
			if whole, hurt := c.find(t); !whole || hurt || len(c.told) != 1 {
				t.Errorf("the images are there: %v, %v; told %q", whole, hurt, c.told)
			}
		})
	}
}
