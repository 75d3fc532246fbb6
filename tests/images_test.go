package tests_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listedImage is an image as `images --format json` of cooper and podman has it.
type listedImage struct {
	ID                string `json:"Id"`
	RepoDigests       []string
	Size, VirtualSize int64
	Labels            map[string]string
	Containers        int
	Names             []string
	Digest            string
	Created           int64
	CreatedAt         string
}

// readImages reads such a list; podman has an image in it once for each name.
func readImages(t *testing.T, text string) map[string]listedImage {
	t.Helper()
	var list []listedImage
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v in %s", err, tail(text))
	}
	all := map[string]listedImage{}
	for _, i := range list {
		i.CreatedAt, _, _ = strings.Cut(i.CreatedAt, ".") // podman has whole seconds
		i.CreatedAt = strings.TrimSuffix(i.CreatedAt, "Z")
		slices.Sort(i.Names)
		slices.Sort(i.RepoDigests)
		if len(i.Names) == 0 {
			i.Names = nil
		}
		if len(i.RepoDigests) == 0 {
			i.RepoDigests = nil
		}
		all[i.ID] = i
	}
	return all
}

// manyImages makes images with cooper, podman and buildah in one store.
func (s *site) manyImages(t *testing.T) {
	t.Helper()
	s.busybox(t, "base")
	s.write(t, "app/Containerfile", "FROM base\nLABEL org.example.team=web\nCOPY x /x\nENV A=b\nEXPOSE 80\nVOLUME /data\n"+
		"HEALTHCHECK CMD true\nENTRYPOINT [\"/bin/sh\"]\n")
	s.write(t, "app/x", "x")
	s.build(t, "-t", "app:1", "-t", "registry.example.com:5000/team/app:1", "app")
	s.write(t, "app/y", "y")
	s.run(t, "podman", "build", "-q", "--network=host", "-t", "bypodman", "app")
	s.run(t, "podman", "tag", "bypodman", "quay.io/a/b:2")
	s.run(t, "buildah", "from", "--name", "working", "base")
	s.run(t, "buildah", "config", "--label", "by=buildah", "working")
	s.run(t, "buildah", "commit", "-q", "working", "bybuildah")
	s.run(t, "buildah", "commit", "-q", "working") // without a name
	s.run(t, "buildah", "rm", "working")
}

func TestImagesAreListedAsPodmanListsThem(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		if out := s.mustCooper(t, "images", "--format", "json"); strings.TrimSpace(out) != "[]" {
			t.Errorf("without a store there is %s", out)
		}
		if _, err := os.Lstat(s.store()); err == nil {
			t.Error("listing has made a store")
		}
		s.manyImages(t)
		s.run(t, "podman", "create", "--name", "c1", "app:1")
		ours, theirs := readImages(t, s.mustCooper(t, "images", "--format", "json")),
			readImages(t, s.run(t, "podman", "images", "--format", "json"))
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("podman's list (-) and cooper's (+) differ:\n%s", diff)
		}
		// Sizes are as docker writes them.
		const rows = "{{.Repository}} {{.Tag}} {{.ID}} {{.Digest}} {{.Dangling}}"
		lines := func(text string) []string { return slices.Sorted(strings.Lines(text)) }
		for i, args := range [][]string{
			{"--format", rows}, {"--format", "{{.ID}} {{.Names}} {{.Labels}}", "--no-trunc"}, {"-q"}, {"-q", "--no-trunc"},
			{"-q", "--filter", "label=by"}, {"-q", "-f", "label=by=other"}, {"-q", "-f", "dangling=true"},
			{"-q", "-f", "since=base"}, {"-q", "-f", "before=bypodman"}, {"-q", "-f", "reference=*app*"},
			{"-q", "-f", "reference=quay.io/a/b:2"}, {"-q", "bybuildah"}, {"-q", "-f", "label!=by"},
			{"-q", "-f", "dangling!=true"},
			{"-q", "-f", "id=0000"}, {"-q", "-f", "readonly=false"}, {"-q", "-a", "-f", "intermediate=true"},
			{"-q", "-f", "containers=true"}, {"-q", "-f", "until=1h"}, {"-q", "-f", "until=2000-01-01"},
			{"--format", "{{.Id}} {{.IsDangling}} {{.IsReadOnly}} {{.Containers}} {{.History}}"},
		} {
			if i > 0 && !m.takes(i) { // which images are asked for is no matter of who asks
				continue
			}
			want := lines(s.run(t, "podman", append([]string{"images"}, args...)...))
			if got := lines(s.mustCooper(t, append([]string{"images"}, args...)...)); !slices.Equal(got, want) {
				t.Errorf("images %s:\n%spodman has\n%s", args, strings.Join(got, ""), strings.Join(want, ""))
			}
		}
		for _, key := range []string{"repository", "tag", "size", "id"} {
			const format = "{{.ID}} {{.Repository}} {{.Tag}}"
			got := strings.Split(s.mustCooper(t, "images", "--sort", key, "--format", format), "\n")
			column := map[string]int{"id": 0, "repository": 1, "tag": 2}[key]
			var keys []string
			for _, line := range got[:len(got)-1] {
				keys = append(keys, strings.Fields(line)[column])
			}
			if key != "size" && !slices.IsSorted(keys) {
				t.Errorf("sorted by %s: %q", key, keys)
			}
		}
		head, _, _ := strings.Cut(s.mustCooper(t, "images", "--digests"), "\n")
		podmans, _, _ := strings.Cut(s.run(t, "podman", "images", "--digests"), "\n")
		if strings.Join(strings.Fields(head), " ") != strings.Join(strings.Fields(podmans), " ") {
			t.Errorf("the headings are %q, podman's %q", head, podmans)
		}
		for of, want := range map[string]string{"table": "REPOSITORY TAG IMAGE ID CREATED SIZE",
			"table {{.ID}}\\t{{.CreatedSince}}": "IMAGE ID CREATED"} {
			head, _, _ := strings.Cut(s.mustCooper(t, "images", "--format", of), "\n")
			if got := strings.Join(strings.Fields(head), " "); got != want {
				t.Errorf("the headings of %q are %q", of, got)
			}
		}
		s.checkDockersLines(t)
		if out := s.mustCooper(t, "images", "--noheading", "app:1"); strings.Count(out, "\n") != 2 {
			t.Errorf("app:1 without headings is %q", out)
		}
		s.checkNoLeftovers(t)
	})
}

// checkDockersLines holds what json is if cooper is called docker: an object for each line of the table.
func (s *site) checkDockersLines(t *testing.T) {
	t.Helper()
	s.env = append(s.env, "COOPER_DIALECT=docker")
	defer func() { s.env = s.env[:len(s.env)-1] }()
	for _, args := range [][]string{{"images", "--format", "json", "app:1"}, {"history", "--format", "json", "app:1"}} {
		text := s.mustCooper(t, args...)
		for line := range strings.Lines(text) {
			var row struct{ ID, CreatedSince, Size string }
			if err := json.Unmarshal([]byte(line), &row); err != nil || row.ID == "" || row.Size == "" ||
				row.CreatedSince == "" {
				t.Errorf("%s: %v in %s", args, err, line)
			}
		}
		if strings.Count(text, "\n") < 2 {
			t.Errorf("%s is\n%s", args, text)
		}
	}
}

// names are those of all images of the site's store, as podman sees them.
func (s *site) names(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, i := range readImages(t, s.run(t, "podman", "images", "-a", "--format", "json")) {
		names = append(names, i.Names...)
	}
	slices.Sort(names)
	return names
}

func TestNamesAreGivenAndTaken(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN echo a >/a\n")
		id := s.build(t, "-t", "one", "ctx")
		s.mustCooper(t, "tag", "one", "two:2", "quay.io/a/b")
		s.mustCooper(t, "tag", strings.TrimPrefix(id, "sha256:")[:12], "three")
		want := []string{"localhost/base:latest", "localhost/one:latest", "localhost/three:latest", "localhost/two:2",
			"quay.io/a/b:latest"}
		if diff := cmp.Diff(want, s.names(t)); diff != "" {
			t.Errorf("after tag:\n%s", diff)
		}
		s.mustCooper(t, "untag", "one", "two:2", "quay.io/a/b:latest")
		s.mustCooper(t, "tag", "base", "three") // taken from the other
		if diff := cmp.Diff([]string{"localhost/base:latest", "localhost/one:latest", "localhost/three:latest"},
			s.names(t)); diff != "" {
			t.Errorf("after untag and tag:\n%s", diff)
		}
		if r := s.cooper(t, "untag", "one", "base"); r.Code != 1 || !strings.Contains(r.Stderr, "base is no name of image") {
			t.Errorf("untag of another's name: status %d, %s", r.Code, r.Stderr)
		}
		s.mustCooper(t, "untag", "one")
		if out := s.mustCooper(t, "images", "-a", "-q", "-f", "dangling=true"); !strings.Contains(id,
			strings.TrimSpace(out)) {
			t.Errorf("without a name there is %q", out)
		}
		if again := s.build(t, "-t", "one", "ctx"); again != id {
			t.Errorf("built again it is %s and not %s", again, id)
		}
		for args, says := range map[string]string{
			"tag none x": "none: no such image in the store", "tag one A": "must be lowercase",
			"tag one a@sha256:" + strings.Repeat("0", 64): "can't have a digest", "untag none": "no such image",
			"tag one": "got 1",
		} {
			if r := s.cooper(t, strings.Fields(args)...); r.Code == 0 || !strings.Contains(r.Stderr, says) {
				t.Errorf("cooper %s: status %d, %s", args, r.Code, r.Stderr)
			}
		}
		s.checkNoLeftovers(t)
	})
}

// podmanReadsAll has podman look at the whole store.
func (s *site) podmanReadsAll(t *testing.T) {
	t.Helper()
	for name := range maps.Keys(readImages(t, s.run(t, "podman", "images", "-a", "--format", "json"))) {
		s.run(t, "podman", "image", "inspect", name)
	}
	if r := runCommand(t, s.command("podman", "system", "df")); r.Code != 0 {
		t.Errorf("podman system df: %s", r.Stderr)
	}
}

func TestRemovedImagesTakeAlongWhatNothingElseHas(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.manyImages(t)
		first := s.df(t).total(t)
		out := s.mustCooper(t, "rmi", "app:1")
		if out != "Untagged: localhost/app:1\n" {
			t.Errorf("the first name: %s", out)
		}
		out = s.mustCooper(t, "rmi", "registry.example.com:5000/team/app:1", "quay.io/a/b:2")
		if !strings.Contains(out, "Deleted: ") || strings.Count(out, "Untagged: ") != 2 {
			t.Errorf("the last name: %s", out)
		}
		if n := s.df(t).total(t); n >= first {
			t.Errorf("%d bytes are in the store, %d before", n, first)
		}
		for _, i := range s.df(t).Items {
			if i.Type == "layers" {
				t.Errorf("a layer is left: %+v", i)
			}
		}
		s.build(t, "-t", "app:1", "app") // what is recorded of the layers that are gone misleads nobody
		if got := s.run(t, "podman", "run", "--rm", "--network=host", "app:1", "-c", "cat /x"); got != "x" {
			t.Errorf("built again it has %q", got)
		}
		s.mustCooper(t, "rmi", "--prune")
		if out := s.mustCooper(t, "images", "-q", "-f", "dangling=true"); out != "" {
			t.Errorf("after --prune there is %q", out)
		}
		// By digest, and all at once.
		digest := s.run(t, "podman", "image", "inspect", "--format", "{{.Digest}}", "bybuildah")
		s.mustCooper(t, "rmi", strings.TrimSpace(digest))
		s.mustCooper(t, "rmi", "bypodman@"+strings.TrimSpace(s.run(t, "podman", "image", "inspect", "--format",
			"{{.Digest}}", "bypodman")))
		if diff := cmp.Diff([]string{"localhost/app:1", "localhost/base:latest"}, s.names(t)); diff != "" {
			t.Errorf("left are:\n%s", diff)
		}
		s.podmanReadsAll(t)
		s.mustCooper(t, "rmi", "--all")
		if left := s.names(t); len(left) != 0 {
			t.Errorf("after --all there are %q", left)
		}
		s.mustCooper(t, "prune", "-a", "-f")
		if u := s.df(t); u.total(t) != 0 {
			t.Errorf("after all that is left: %+v", u)
		}
		s.busybox(t, "base")
		s.checkNoLeftovers(t)
	})
}

// total is all that is in the store, in bytes.
func (u usage) total(t *testing.T) (n int64) {
	t.Helper()
	for _, k := range u.Types {
		n += k.Bytes
	}
	return n
}

func TestImagesInUseStay(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.manyImages(t)
		s.run(t, "podman", "create", "--name", "c1", "bybuildah")
		s.write(t, "two/Containerfile", "FROM scratch\nCOPY x /x\n")
		s.write(t, "two/x", "x")
		s.build(t, "--platform", "linux/amd64,linux/arm64", "-t", "list", "two")
		ids := strings.Fields(s.mustCooper(t, "images", "-a", "-q", "-f", "since=bypodman", "-f", "dangling=true"))
		for args, want := range map[string]string{
			"rmi bybuildah":    "image bybuildah stays: a container uses it\nhint: podman rm c1",
			"rmi -f bybuildah": "podman rm c1",
			"rmi " + strings.TrimSpace(s.mustCooper(t, "images", "-q", "app:1")): "it has the names localhost/app:1, registry",
			"rmi none": "none: no such image in the store",
		} {
			if r := s.cooper(t, strings.Fields(args)...); r.Code != 1 || !strings.Contains(r.Stderr, want) {
				t.Errorf("cooper %s: status %d, %s", args, r.Code, r.Stderr)
			}
		}
		instance := ""
		for _, id := range ids {
			if r := s.cooper(t, "rmi", id); strings.Contains(r.Stderr, "stays: the index localhost/list:latest has it") {
				instance = id
			}
		}
		if instance == "" {
			t.Errorf("none of %q is kept as one of the index", ids)
		}
		s.mustCooper(t, "rmi", "-f", "none")
		s.mustCooper(t, "rmi", "list")
		if out := s.mustCooper(t, "images", "-a", "-q"); instance != "" && strings.Contains(out, instance) {
			t.Errorf("without its index %s is still there", instance)
		}
		// What the container is on stays, too.
		if r := s.cooper(t, "rmi", "-a"); r.Code != 1 || strings.Count(r.Stderr, "stays") != 1 {
			t.Errorf("--all: status %d, %s", r.Code, r.Stderr)
		}
		if got := s.names(t); !slices.Equal(got, []string{"localhost/bybuildah:latest"}) {
			t.Errorf("left are %q", got)
		}
		s.run(t, "podman", "rm", "c1")
		s.podmanReadsAll(t)
		s.mustCooper(t, "rmi", "bybuildah")
		s.checkNoLeftovers(t)
	})
}

func TestTheBaseOfARunningBuildStays(t *testing.T) {
	s := newSite(t, ordinary(t))
	s.busybox(t, "base")
	s.write(t, "ctx/Containerfile", "FROM base\nRUN echo 'it 'runs; exec sleep 1000\n")
	cmd := s.command(suite.cooper, "build", "--progress=plain", s.path("ctx"))
	runs := newWaitFor("it runs")
	cmd.Stdout, cmd.Stderr = nil, runs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		s.waitForEnd(t, s.path("ctx"))
	})
	t.Cleanup(stop)
	runs.wait(t)
	if r := s.cooper(t, "rmi", "base"); r.Code != 1 ||
		!strings.Contains(r.Stderr, "image base stays: a build that runs now may use it") {
		t.Errorf("status %d, %s", r.Code, r.Stderr)
	}
	stop()
	s.mustCooper(t, "rmi", "base")
	s.checkNoLeftovers(t)
}

// TestTheCommandsOfTheImagesPageWork runs the lines of docs/images.md, one after the other.
func TestTheCommandsOfTheImagesPageWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		page, err := os.ReadFile("../docs/images.md")
		if err != nil {
			t.Fatal(err)
		}
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nLABEL org.example.team=web\nRUN echo a >/a\n")
		s.build(t, "-t", "app", "ctx")
		n := 0
		for line := range strings.Lines(string(page)) {
			args, ok := strings.CutPrefix(line, "    $ cooper ")
			if !ok {
				continue
			}
			n++
			out := s.run(t, "sh", "-c", suite.cooper+" "+args)
			if strings.HasPrefix(args, "images") && strings.TrimSpace(out) == "" {
				t.Errorf("cooper %s prints nothing", args)
			}
		}
		if n < 12 {
			t.Errorf("there are %d commands", n)
		}
		if left := s.names(t); len(left) != 0 {
			t.Errorf("after the last one there are %q", left)
		}
	})
}
