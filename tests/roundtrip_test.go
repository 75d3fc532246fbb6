package tests_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// roundTripFile has every way to make a layer: a command, a file, a linked one, an empty one, one of another stage.
const roundTripFile = `FROM base AS other
RUN echo other >/other
FROM base
RUN mkdir /d && echo 1 >/d/1 && chown 33:50 /d
RUN true
COPY --link etc /linked
COPY --from=other /other /other
RUN rm -r /d && mkdir /d && echo 2 >/d/2
ENV X=1
`

// A carrier holds an image outside of a store. What it is called is for skopeo, which all tools understand.
type carrier struct {
	name string
	// put writes the image localhost/app:1 of the site's store to what is called so.
	put func(t *testing.T, s *site, to string)
}

// carriers are all ways out of the store, by cooper, podman, buildah and skopeo.
func carriers(registry string) map[string][]carrier {
	const image = "localhost/app:1"
	tool := func(name string, args ...string) carrier {
		return carrier{name, func(t *testing.T, s *site, to string) {
			t.Helper()
			s.run(t, name, strings.Split(strings.NewReplacer("IMAGE", image, "TO", to, "FILE",
				pathOf(to)).Replace(strings.Join(args, "\n")), "\n")...)
		}}
	}
	cooper := func(kind string) carrier {
		return carrier{"cooper", func(t *testing.T, s *site, to string) {
			t.Helper()
			s.build(t, "-q", "-t", "app:1", "-o", "type="+kind+",dest="+pathOf(to), "ctx")
		}}
	}
	skopeo := tool("skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "containers-storage:IMAGE",
		"TO")
	buildah := tool("buildah", "push", "-q", "--tls-verify=false", "IMAGE", "TO")
	return map[string][]carrier{
		"docker://" + registry + "/": {tool("podman", "push", "-q", "--tls-verify=false", "IMAGE", "TO"), buildah, skopeo},
		"docker-archive:": {tool("podman", "save", "-q", "-o", "FILE", "IMAGE"), buildah, skopeo,
			cooper("docker")},
		"oci-archive:": {tool("podman", "save", "-q", "--format=oci-archive", "-o", "FILE", "IMAGE"), buildah,
			skopeo, cooper("oci")},
	}
}

// pathOf is the file of an archive's name.
func pathOf(name string) string {
	_, rest, _ := strings.Cut(name, ":")
	path, _, _ := strings.Cut(rest, ":")
	return path
}

// takers put what a carrier holds into the store.
var takers = map[string][]string{
	"podman":  {"podman", "pull", "-q", "--tls-verify=false"},
	"buildah": {"buildah", "pull", "-q", "--tls-verify=false"},
	"skopeo":  {"skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"},
}

// take has a tool put the image into the store.
func (s *site) take(t *testing.T, tool, from string) {
	t.Helper()
	args := append(takers[tool], from)
	if tool == "skopeo" {
		args = append(args, "containers-storage:localhost/app:1")
	}
	s.run(t, args[0], args[1:]...)
}

// TestImagesComeBack carries an image that was built here out of the store and back into it, by every pair of tools,
// while it is there and after it was removed. Each user has every kind of carrier and every tool; the pairs of the two
// are all pairs.
func TestImagesComeBack(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		registry, _ := s.startRegistry(t)
		s.busybox(t, "base")
		s.write(t, "ctx/etc/file", "file\n")
		s.write(t, "ctx/Containerfile", roundTripFile)
		id := strings.TrimPrefix(s.build(t, "-q", "-t", "app:1", "ctx"), "sha256:")
		for kind, all := range carriers(registry) {
			for i, c := range all {
				if !m.takes(i) {
					continue
				}
				to := kind + s.path(c.name+".tar")
				switch {
				case strings.HasPrefix(kind, "docker:"):
					to = kind + c.name + "/app:1"
				case strings.HasPrefix(kind, "docker-"):
					to += ":localhost/app:1"
				}
				s.run(t, "rm", "-f", pathOf(to))
				c.put(t, s, to)
				for tool := range takers {
					s.take(t, tool, to)
					s.checkChained(t, id)
				}
				s.run(t, "podman", "rmi", "-f", id)
				s.take(t, "podman", to)
				s.checkChained(t, id)
				s.run(t, "podman", "tag", id, "localhost/app:1")
				if again := s.build(t, "-q", "-t", "app:1", "ctx"); again != "sha256:"+id {
					t.Fatalf("%s by %s: the next build gave %s, not %s", kind, c.name, again, id)
				}
			}
		}
		s.checkNoLeftovers(t)
		s.checkOtherStores(t, id)
		s.checkBareFrom(t, id)
	})
}

// checkOtherStores copies the image from store to store.
func (s *site) checkOtherStores(t *testing.T, id string) {
	t.Helper()
	other := fmt.Sprintf("containers-storage:[overlay@%s+%s]localhost/app:1", s.path("store2"), s.path("run/2"))
	s.inside(t, "skopeo", "--insecure-policy", "copy", "-q", "containers-storage:localhost/app:1", other)
	s.inside(t, "skopeo", "--insecure-policy", "copy", "-q", other, "containers-storage:localhost/app:1")
	s.checkChained(t, id)
}

// inside runs a program as root of the user's namespace.
func (s *site) inside(t *testing.T, args ...string) {
	t.Helper()
	if !s.mode.root() {
		args = append([]string{"buildah", "unshare"}, args...)
	}
	s.run(t, args[0], args[1:]...)
}

// checkBareFrom builds on the image and changes nothing.
func (s *site) checkBareFrom(t *testing.T, id string) {
	t.Helper()
	s.write(t, "bare/Containerfile", "FROM localhost/app:1\n")
	s.run(t, "podman", "build", "-q", "-t", "bare:podman", "bare")
	s.run(t, "buildah", "bud", "-q", "-t", "bare:buildah", "bare")
	s.build(t, "-q", "-t", "bare:cooper", "bare")
	s.checkChained(t, id)
}

// checkChained holds the IDs of all layers of an image against those that go.podman.io/image gives them.
func (s *site) checkChained(t *testing.T, id string) {
	t.Helper()
	parent := ""
	for i, l := range s.chain(t, id) {
		want := strings.TrimPrefix(l.DiffID, "sha256:")
		if parent != "" {
			want = fmt.Sprintf("%x", sha256.Sum256([]byte(parent+"+"+want)))
		}
		if l.ID != want {
			t.Fatalf("layer %d of %s has the ID %s, not %s", i, id, l.ID, want)
		}
		parent = l.ID
	}
}

type layerRecord struct {
	ID, Parent string
	DiffID     string `json:"diff-digest"`
}

// chain are the layers of an image, lowest first.
func (s *site) chain(t *testing.T, id string) (path []layerRecord) {
	t.Helper()
	var images []struct{ ID, Layer string }
	var layers []layerRecord
	s.readRecords(t, "images", &images)
	s.readRecords(t, "layers", &layers)
	byID := map[string]layerRecord{}
	for _, l := range layers {
		byID[l.ID] = l
	}
	for _, img := range images {
		if img.ID != id {
			continue
		}
		for top := img.Layer; top != ""; top = byID[top].Parent {
			path = append(path, byID[top])
		}
		slices.Reverse(path)
		return path
	}
	t.Fatalf("image %s isn't in the store", id)
	return nil
}

// readRecords reads the store's list of images or layers.
func (s *site) readRecords(t *testing.T, kind string, into any) {
	t.Helper()
	files, err := filepath.Glob(s.store() + "/*-" + kind + "/" + kind + ".json")
	if err != nil || len(files) != 1 {
		t.Fatalf("lists of %s: %v, %v", kind, files, err)
	}
	if err := json.Unmarshal([]byte(readFile(t, files[0])), into); err != nil {
		t.Fatal(err)
	}
}

// TestImagesOfEveryKindComeBack saves and loads images of other drivers, platforms and depths.
func TestImagesOfEveryKindComeBack(t *testing.T) {
	deep := "FROM base\n" + strings.Repeat("RUN echo x >>/x\n", 125)
	eachMode(t, func(t *testing.T, m mode) {
		for _, d := range driversOf(t, m) {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				s := newDriverSite(t, m, d)
				s.busybox(t, "base")
				s.write(t, "ctx/etc/file", "file\n")
				s.write(t, "ctx/Containerfile", roundTripFile)
				s.checkSaved(t, "app:1", s.build(t, "-q", "-t", "app:1", "ctx"))
				s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY etc /etc\nCOPY --link etc /more\n")
				s.checkSaved(t, "arm:1", s.build(t, "-q", "-t", "arm:1", "--platform=linux/arm64", "ctx"))
				if d.name == "overlay" && (!m.root() || len(suite.modes) == 1) {
					s.write(t, "ctx/Containerfile", deep)
					s.checkSaved(t, "deep:1", s.build(t, "-q", "-t", "deep:1", "ctx"))
				}
			})
		}
	})
}

// checkSaved saves an image and loads it, while it is there and after it was removed.
func (s *site) checkSaved(t *testing.T, name, id string) {
	t.Helper()
	id = strings.TrimPrefix(id, "sha256:")
	file := s.path(strings.ReplaceAll(name, ":", "-") + ".tar")
	s.run(t, "rm", "-f", file)
	s.run(t, "podman", "save", "-q", "-o", file, name)
	s.run(t, "podman", "load", "-q", "-i", file)
	s.checkChained(t, id)
	s.run(t, "podman", "rmi", name)
	s.run(t, "podman", "load", "-q", "-i", file)
	s.checkChained(t, id)
	s.checkNoLeftovers(t)
}

// TestBasesOfOtherToolsComeBack builds on images of podman and buildah and shares their layers. The users share the
// kinds of them.
func TestBasesOfOtherToolsComeBack(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "theirs/Containerfile", "FROM base\nRUN echo x >/x\nRUN true\nRUN rm /x; mkdir /y\n")
		s.write(t, "ctx/Containerfile", "FROM theirs:1\nRUN echo z >/z\n")
		s.busybox(t, "base")
		for i, build := range [][]string{
			{"podman", "build", "-q"}, {"podman", "build", "-q", "--layers=false"},
			{"buildah", "bud", "-q", "--isolation=chroot"}, {"podman", "build", "-q", "--squash-all"},
		} {
			if len(suite.modes) > 1 && (i%3 == 0) == m.root() {
				continue
			}
			s.run(t, build[0], append(build[1:], "-t", "theirs:1", "theirs")...)
			s.checkSaved(t, "app:1", s.build(t, "-q", "-t", "app:1", "ctx"))
			s.run(t, "podman", "rmi", "app:1")
		}
	})
}

// TestLayersOfOtherToolsAreUsed builds what podman has unpacked already: to the byte the same, so no layer is made
// twice.
func TestLayersOfOtherToolsAreUsed(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
		s.write(t, "ctx/etc/file", "file\n")
		s.write(t, "ctx/Containerfile", roundTripFile)
		build := func() string {
			s.busybox(t, "base")
			return strings.TrimPrefix(s.build(t, "-q", "-t", "app:1", "ctx"), "sha256:")
		}
		id := build()
		made := s.layers(t)
		s.run(t, "podman", "save", "-q", "-o", s.path("app.tar"), "app:1")
		s.run(t, "podman", "rmi", "-af")
		s.cooper(t, "prune", "-af").succeeds(t)
		if left := s.layers(t); len(left) > 0 {
			t.Errorf("%d layers are left", len(left))
		}
		s.run(t, "podman", "load", "-q", "-i", s.path("app.tar"))
		loaded := s.layers(t)
		if again := build(); again != id {
			t.Errorf("the image is %s now, not %s", again, id)
		}
		now := s.layers(t)
		for _, l := range loaded {
			if !slices.Contains(now, l) {
				t.Errorf("layer %s isn't there any more", l)
			}
		}
		if len(now) != len(made) {
			t.Errorf("there are %d layers, not %d", len(now), len(made))
		}
		// Two builds of the same at the same time end with the same image, and one layer each.
		s.run(t, "podman", "rmi", "-af")
		s.cooper(t, "prune", "-af").succeeds(t)
		s.busybox(t, "base")
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				r := s.cooper(t, "build", "-q", "-t", "app:1", "--no-cache", "ctx")
				if r.Code != 0 || strings.TrimSpace(r.Stdout) != "sha256:"+id {
					t.Errorf("status %d, %s\n%s", r.Code, r.Stdout, tail(r.Stderr))
				}
			})
		}
		group.Wait()
		if now := s.layers(t); len(now) != len(made) {
			t.Errorf("there are %d layers, not %d", len(now), len(made))
		}
		s.checkChained(t, id)
		s.checkNoLeftovers(t)
	})
}

// TestOldLayerIDs builds in a store whose layers have other IDs, as those of earlier versions did. Such a store of vfs
// is the ordinary user's.
func TestOldLayerIDs(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, driver := range []string{"overlay", "vfs"} {
			if driver == "vfs" && m.root() {
				continue
			}
			s := newDriverSite(t, m, driverCase{args: []string{"", driver}})
			s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
			s.busybox(t, "base")
			s.write(t, "ctx/etc/file", "file\n")
			s.write(t, "ctx/Containerfile", roundTripFile)
			build := func() string { return s.build(t, "-q", "-t", "app:1", "ctx") }
			id := build()
			s.run(t, "podman", "tag", "app:1", "same:1")
			s.renameLayers(t, driver)
			if old := s.chain(t, strings.TrimPrefix(id, "sha256:")); !strings.HasPrefix(old[0].ID, "0") {
				t.Fatalf("the lowest layer is %s", old[0].ID)
			}
			s.write(t, "on/Containerfile", "FROM app:1\nRUN echo on >/on\n")
			s.checkSaved(t, "on:1", s.build(t, "-q", "-t", "on:1", "on"))
			s.renameLayers(t, driver)
			if again := build(); again != id {
				t.Errorf("the image is %s now, not %s", again, id)
			}
			s.checkSaved(t, "app:1", id)
			s.run(t, "podman", "run", "--rm", "same:1", "grep", "2", "/d/2")
			s.checkStore(t, "base")
		}
	})
}

// renameLayers gives all layers of the store, and all that names them, other IDs.
func (s *site) renameLayers(t *testing.T, driver string) {
	t.Helper()
	edits, script := "", "set -e; cd "+s.store()+"\n"
	for _, id := range s.layers(t) {
		letters := []byte(id)
		slices.Reverse(letters)
		other := "0" + string(letters[1:])
		edits += "s/" + id + "/" + other + "/g\n"
		script += fmt.Sprintf("mv %s-layers/%s.tar-split.gz %[1]s-layers/%[3]s.tar-split.gz\n", driver, id, other)
		if driver == "vfs" {
			script += fmt.Sprintf("mv vfs/dir/%s vfs/dir/%s\n", id, other)
		} else {
			script += fmt.Sprintf("mv overlay/%s overlay/%s\nln -sfn ../%[2]s/diff overlay/l/$(cat overlay/%[2]s/link)\n", id,
				other)
		}
		script += fmt.Sprintf("if [ -e cooper/uses/layers/%s ]; then mv cooper/uses/layers/%[1]s cooper/uses/layers/%s; fi\n",
			id, other)
	}
	s.write(t, "edits", edits)
	s.write(t, "rename.sh",
		script+"find . -name layers.json -o -name images.json -o -path './cooper/cache/steps/*' -type f | xargs sed -i -f "+
			s.path("edits")+"\n")
	s.inside(t, "sh", s.path("rename.sh"))
}
