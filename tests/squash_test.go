package tests_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// squashedFile makes files, deletes some of its own and of the base, and changes the config in between.
const squashedFile = `FROM localhost/base:latest AS one
RUN echo 1 >/one; echo s >/secret; mkdir -p /d/e; echo x >/d/e/f; rm /etc/group
LABEL a=b
RUN rm /secret; rm -r /d; echo 2 >>/one
FROM one
RUN mkdir -p /d; echo y >/d/g; chmod 700 /d
CMD ["cat", "/one"]
`

// shape is what a squash changes of an image: how many layers there are, and which entries of the history have one.
func (d described) shape() (layers int, empty []bool) {
	for _, h := range d.History {
		empty = append(empty, h.EmptyLayer)
	}
	return len(d.RootFS.Layers), empty
}

func TestSquashedImagesAreThoseOfPodman(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		base := len(s.describe(t, "base").RootFS.Layers)
		s.write(t, "ctx/Containerfile", strings.Replace(squashedFile, " AS one", "", 1))
		s.write(t, "ctx/Containerfile", strings.Replace(s.read(t, "ctx/Containerfile"), "FROM one\n", "", 1))
		const list = "find /one /d /etc -exec stat -c '%n %a %u %g %F' {} + | sort"
		for i, c := range []struct {
			flag   string
			layers int
		}{
			{"--squash", base + 1}, {"--squash-all", 1}, {"--omit-history", base + 3}, {"--layers=false", base + 1},
		} {
			if !m.takes(i) {
				continue
			}
			flag, layers := c.flag, c.layers
			ours, theirs := s.buildBoth(t, "ctx", flag)
			gotLayers, gotEmpty := ours.shape()
			wantLayers, wantEmpty := theirs.shape()
			if flag == "--omit-history" { // podman 4.3 writes one with layers
				wantEmpty = nil
			} else {
				wantEmpty[len(wantEmpty)-1], wantEmpty[len(wantEmpty)-2] = false, true
			}
			if gotLayers != wantLayers || gotLayers != layers {
				t.Errorf("%s: cooper made %d layers, podman %d", flag, gotLayers, wantLayers)
			}
			if diff := cmp.Diff(wantEmpty, gotEmpty); diff != "" {
				t.Errorf("%s: empty layers in the history (-podman +cooper)\n%s", flag, diff)
			}
			files := func(name string) string {
				return s.run(t, "podman", "run", "--rm", "--network=host", name, "sh", "-c", list)
			}
			if diff := cmp.Diff(strings.Split(files("theirs"), "\n"), strings.Split(files("ours"), "\n")); diff != "" {
				t.Errorf("%s: files (-podman +cooper)\n%s", flag, diff)
			}
			if got := s.run(t, "podman", "run", "--rm", "--network=host", "ours"); got != "1\n2\n" {
				t.Errorf("%s: a container prints %q", flag, got)
			}
		}
	})
}

// TestASquashLeavesNoTraceAndIsCached looks into the layers: what a step made and a later one deleted is in none, and
// the steps and the squash come from the cache the next time.
func TestASquashLeavesNoTraceAndIsCached(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
		s.busybox(t, "base")
		base := len(s.describe(t, "base").RootFS.Layers)
		s.write(t, "ctx/Containerfile", squashedFile)
		for _, flag := range []string{"--squash", "--squash-all"} {
			id := s.build(t, flag, "-t", "app", "-o", "type=oci,compression=uncompressed,dest=app.tar", "ctx")
			l := mustLayout(t, s.path("app.tar"))
			text, err := l.listing()
			if err != nil {
				t.Fatal(err)
			}
			for _, gone := range []string{"secret", "d/e", ".wh.d", ".wh..wh..opq"} {
				if strings.Contains(text, gone) {
					t.Errorf("%s: the image tells of %s:\n%s", flag, gone, text)
				}
			}
			if hidden := strings.Contains(text, "etc/.wh.group"); hidden != (flag == "--squash") {
				t.Errorf("%s: a file of the base is hidden: %t", flag, hidden)
			}
			again := s.cooper(t, "build", flag, "ctx")
			if again.Code != 0 || strings.TrimSpace(again.Stdout) != id || strings.Count(again.Stderr, "CACHED") < 3 {
				t.Errorf("%s: the second build says\n%s%s", flag, again.Stdout, again.Stderr)
			}
			if fresh := s.build(t, flag, "--no-cache", "ctx"); fresh != id {
				t.Errorf("%s: run anew the image is %s, not %s", flag, fresh, id)
			}
			s.checkStore(t, "app")
		}
		s.build(t, "-t", "plain", "ctx")
		if got := len(s.describe(t, "plain").RootFS.Layers); got != base+3 {
			t.Errorf("without a squash there are %d layers", got)
		}

		// Nothing to put together: the image stays as it is, but for the base's layers.
		s.write(t, "one/Containerfile", "FROM base\nLABEL a=b\n")
		if a, b := s.build(t, "one"), s.build(t, "--squash", "one"); a != b {
			t.Errorf("an image without layers of its own is %s, and %s with --squash", a, b)
		}
		s.write(t, "one/Containerfile", "FROM plain\nLABEL a=b\n")
		s.build(t, "--squash-all", "-t", "flat", "one")
		if got := s.describe(t, "flat"); len(got.RootFS.Layers) != 1 || len(got.History) != 1 {
			t.Errorf("%d layers, history %+v", len(got.RootFS.Layers), got.History)
		}
		s.write(t, "none/Containerfile", "FROM base\nRUN echo >/x\nRUN rm /x\n")
		s.build(t, "--squash", "-t", "none", "none")
		s.run(t, "podman", "run", "--rm", "--network=host", "none", "true")
		s.cooper(t, "build", "--squash", "--squash-all", "ctx").fails(t, 2, "--squash", "--squash-all")
	})
}

func TestAnnotationsOfTheCommandLineAreThoseOfPodman(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "box")
		s.write(t, "base/Containerfile", "FROM box\nLABEL base=1\n")
		s.build(t, "-t", "base", "--annotation=of.base=1", "--annotation=both=base", "base")
		s.write(t, "ctx/Containerfile", "FROM localhost/base:latest\nRUN echo >/x\n")
		ours, theirs := s.buildBoth(t, "ctx", "--annotation=a=1", "--annotation", "bare", "--annotation=both=mine")
		for _, own := range []string{"org.opencontainers.image.base.digest", "org.opencontainers.image.base.name"} {
			delete(theirs.Annotations, own)
		}
		want := map[string]string{"a": "1", "bare": "", "both": "mine"}
		if diff := cmp.Diff(want, ours.Annotations); diff != "" {
			t.Errorf("cooper (-want +got)\n%s", diff)
		}
		want["of.base"] = "1" // podman inherits
		if diff := cmp.Diff(want, theirs.Annotations); diff != "" {
			t.Errorf("podman (-want +got)\n%s", diff)
		}

		id := s.build(t, "-t", "ours", "--inherit-annotations", "--annotation=a=1", "--unsetannotation=both",
			"--created-annotation", "--timestamp=1000000000", "-o", "type=oci,dest=o.tar,annotation.out=2", "ctx")
		want = map[string]string{"a": "1", "of.base": "1", "org.opencontainers.image.created": "2001-09-09T01:46:40Z"}
		if diff := cmp.Diff(want, s.describe(t, "ours").Annotations); diff != "" {
			t.Errorf("inherited (-want +got)\n%s", diff)
		}
		want["out"] = "2"
		if diff := cmp.Diff(want, s.manifestOf(t, "oci-archive:"+s.path("o.tar")).Annotations); diff != "" {
			t.Errorf("archive (-want +got)\n%s", diff)
		}
		if plain := s.build(t, "-t", "ours", "--timestamp=1000000000", "ctx"); plain != id {
			t.Errorf("an annotation changes the image's ID: %s, %s", plain, id)
		}
		if got := s.describe(t, "ours").Annotations; len(got) > 0 {
			t.Errorf("the later build's image has %v", got)
		}

		// An index and its entries, in the store and in an archive.
		s.write(t, "many/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
		s.build(t, "-t", "many", "--platform=linux/amd64,linux/arm64", "--annotation=index,manifest[linux/arm64]:k=v",
			"--annotation=manifest-descriptor:d=e", "-o", "type=oci,dest=many.tar", "many")
		for _, from := range []string{"containers-storage:localhost/many:latest", "oci-archive:" + s.path("many.tar")} {
			raw := s.run(t, "skopeo", "inspect", "--raw", from)
			if strings.Count(raw, `"annotations":{"d":"e"}`) != 2 || strings.Count(raw, `"annotations":{"k":"v"}`) != 1 {
				t.Errorf("%s: the index is %s", from, raw)
			}
		}
		s.cooper(t, "build", "--annotation=index:k=v", "ctx").fails(t, 2, "--annotation", "no index")
	})
}
