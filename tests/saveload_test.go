package tests_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// idAndDigest are an image's, as podman sees them.
func (s *site) idAndDigest(t *testing.T, name string) (id, digest string) {
	t.Helper()
	id, digest, _ = strings.Cut(strings.TrimSpace(s.run(t, "podman", "inspect", "-f", "{{.Id}} {{.Digest}}", name)), " ")
	return id, digest
}

// TestSavedImagesComeBackTheSame saves an image in each format, and has cooper, podman and skopeo read it.
func TestSavedImagesComeBackTheSame(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN echo a >/a && chown 33:33 /a\nLABEL a=<b>\n")
		s.build(t, "-t", "quay.io/team/app:1", "ctx")
		id, digest := s.idAndDigest(t, "quay.io/team/app:1")
		const name = "quay.io/team/app:1"
		formats := map[string]string{
			"docker-archive": "docker-archive:", "oci-archive --uncompressed": "oci-archive:", "oci-dir --uncompressed": "oci:",
			"docker-dir": "dir:", "docker-dir --compress": "dir:", "oci-archive": "oci-archive:",
		}
		file := func(format string) string { return s.path(strings.ReplaceAll(format, " ", "")) }
		for format, transport := range formats {
			args := append([]string{"save", "-q", "-o", file(format), "--format"}, strings.Fields(format)...)
			s.mustCooper(t, append(args, name)...)
			raw := s.run(t, "skopeo", "inspect", "--config", "--raw", transport+file(format))
			if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(raw))); sum != id {
				t.Errorf("%s: skopeo finds the image %s, not %s", format, sum, id)
			}
		}
		for i, format := range slices.Sorted(maps.Keys(formats)) {
			if !m.takes(i) {
				continue
			}
			s.mustCooper(t, "rmi", "--all")
			want := "Loaded image: " + name + "\n"
			if strings.HasPrefix(format, "docker-dir") { // which has no names
				want = "Loaded image ID: sha256:" + id + "\n"
			}
			if out := s.mustCooper(t, "load", "-q", "-i", file(format)); out != want {
				t.Errorf("%s: %q", format, out)
			}
			gotID, gotDigest := s.idAndDigest(t, id)
			same := format == "docker-archive" || strings.Contains(format, "uncompressed")
			if gotID != id || same && gotDigest != digest {
				t.Errorf("%s: after its return it is %s, %s, not %s, %s", format, gotID, gotDigest, id, digest)
			}
			s.mustCooper(t, "rmi", "--all")
			s.run(t, "podman", "load", "-q", "-i", file(format))
			if gotID, _ := s.idAndDigest(t, id); gotID != id {
				t.Errorf("%s: podman has loaded %s", format, gotID)
			}
			if out := s.run(t, "podman", "run", "--rm", id, "stat", "-c", "%u", "/a"); out != "33\n" {
				t.Errorf("%s: a file in the image that podman has loaded belongs to %s", format, out)
			}
		}
		s.checkNoLeftovers(t)
	})
}

// TestImagesAreLoadedFromWhatOthersHaveSaved reads podman's archives, compressed in every way, and several images.
func TestImagesAreLoadedFromWhatOthersHaveSaved(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN echo a >/a\n")
		s.build(t, "-t", "app", "-t", "app:2", "ctx")
		ids := map[string]string{}
		for _, name := range []string{"app", "base"} {
			ids[name], _ = s.idAndDigest(t, name)
		}
		s.run(t, "podman", "save", "-q", "-o", s.path("d.tar"), "app", "app:2")
		s.run(t, "podman", "save", "-q", "--format", "oci-archive", "-o", s.path("o.tar"), "app")
		s.run(t, "podman", "save", "-q", "--format", "docker-dir", "-o", s.path("dir"), "app")
		s.run(t, "podman", "save", "-q", "--format", "oci-dir", "-o", s.path("layout"), "app")
		s.run(t, "podman", "save", "-q", "-m", "-o", s.path("m.tar"), "app", "base")
		packers := map[string]string{"d.gzip": "gzip -1", "d.bzip2": "bzip2 -1", "d.xz": "xz -0", "d.zstd": "zstd -q"}
		files := map[string]string{
			"d.tar": "app app:2", "o.tar": "app", "dir": "", "layout": "", "m.tar": "app base", "d.gzip": "app app:2",
			"d.bzip2": "app app:2", "d.xz": "app app:2", "d.zstd": "app app:2",
		}
		for i, file := range slices.Sorted(maps.Keys(files)) {
			if !m.takes(i) {
				continue
			}
			if packers[file] != "" {
				s.run(t, "sh", "-c", packers[file]+" -c "+s.path("d.tar")+" >"+s.path(file))
			}
			want := files[file]
			for _, how := range []string{"-i " + s.path(file), "<" + s.path(file)} {
				if how[0] == '<' && !strings.Contains(file, ".") {
					continue
				}
				s.mustCooper(t, "rmi", "--all")
				s.run(t, "sh", "-c", suite.cooper+" load -q "+how)
				for name := range strings.FieldsSeq(want) {
					short, _, _ := strings.Cut(name, ":")
					if id, _ := s.idAndDigest(t, name); id != ids[short] {
						t.Errorf("load %s: %s is %s, not %s", how, name, id, ids[short])
					}
				}
				if id, _ := s.idAndDigest(t, ids["app"]); id != ids["app"] {
					t.Errorf("load %s: there is no image %s", how, ids["app"])
				}
			}
		}
		// Several images in one archive of cooper's, through a pipe to podman.
		s.mustCooper(t, "load", "-q", "-i", s.path("m.tar"))
		s.run(t, "sh", "-c", suite.cooper+" save -q app base "+ids["app"][:12]+" >"+s.path("ours.tar"))
		s.mustCooper(t, "rmi", "--all")
		s.run(t, "podman", "load", "-q", "-i", s.path("ours.tar"))
		for name, id := range ids {
			if got, _ := s.idAndDigest(t, name); got != id {
				t.Errorf("podman has loaded %s as %s, not %s", name, got, id)
			}
		}
		s.checkNoLeftovers(t)
	})
}

// changed is an archive in which one text is replaced by another of the same length.
func changed(t *testing.T, archive []byte, from, to string) []byte {
	t.Helper()
	at := bytes.Index(archive, []byte(from))
	if at < 0 || len(from) != len(to) {
		t.Fatalf("there is no %q", from)
	}
	out := bytes.Clone(archive)
	copy(out[at:], to)
	return out
}

// without is an archive that lacks the members that a function tells.
func without(t *testing.T, archive []byte, lacks func(h *tar.Header) bool) []byte {
	t.Helper()
	var b bytes.Buffer
	r, w := tar.NewReader(bytes.NewReader(archive)), tar.NewWriter(&b)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if lacks(h) {
			continue
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostileArchivesLeaveNothingInTheStore changes a saved image in several ways.
func TestHostileArchivesLeaveNothingInTheStore(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY f /f\nLABEL l=label\n")
		s.write(t, "ctx/f", "the content of a file")
		s.build(t, "-t", "app", "ctx")
		s.mustCooper(t, "save", "-q", "-o", s.path("app.tar"), "app")
		s.mustCooper(t, "rmi", "--all")
		s.mustCooper(t, "prune", "--all", "--force")
		whole, err := os.ReadFile(s.path("app.tar"))
		if err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			archive []byte
			says    string
		}{
			"another file":     {changed(t, whole, "the content of", "another one of"), "sha256:"},
			"another config":   {changed(t, whole, `"l":"label"`, `"l":"other"`), "sha256:"},
			"a missing layer":  {without(t, whole, func(h *tar.Header) bool { return h.Size > 1000 }), "not found"},
			"a bad name":       {changed(t, whole, "localhost/app:latest", "localhost/APP:latest"), "the name"},
			"half of it":       {whole[:len(whole)/2], "cooper: "},
			"a file of others": {[]byte("root:x:0:0\n"), "cooper: "},
		} {
			s.write(t, "bad.tar", string(test.archive))
			r := s.cooper(t, "load", "-q", "-i", s.path("bad.tar"))
			if r.Code != 1 || !strings.Contains(r.Stderr, test.says) || r.Stdout != "" {
				t.Errorf("%s: status %d, %q, %q", name, r.Code, r.Stdout, r.Stderr)
			}
			if ids := s.mustCooper(t, "images", "-aq"); ids != "" {
				t.Errorf("%s: there are images %s", name, ids)
			}
		}
		if n := s.layers(t); len(n) != 0 {
			t.Errorf("there are layers %q", n)
		}
		s.checkNoLeftovers(t)
	})
}

// TestASavedIndexComesBackWithAllItsImages saves indexes, annotated ones too, and loads all or one of their images.
func TestASavedIndexComesBackWithAllItsImages(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY f /\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n")
		s.write(t, "ctx/f", "f")
		s.build(t, "-t", "many", "--platform", "linux/amd64,linux/arm64", "ctx")
		s.mustCooper(t, "manifest", "annotate", "--index", "--annotation", "a=b", "many")
		before := s.mustCooper(t, "manifest", "inspect", "many")
		for _, format := range []string{"oci-archive", "oci-dir"} {
			file := s.path(format)
			s.mustCooper(t, "save", "-q", "--all-platforms", "--uncompressed", "--format", format, "-o", file, "many")
			raw := s.run(t, "skopeo", "inspect", "--raw", map[string]string{"oci-archive": "oci-archive:",
				"oci-dir": "oci:"}[format]+file)
			other := newSite(t, m)
			if out := other.mustCooper(t, "load", "-q", "--all-platforms", "-i",
				file); out != "Loaded image: localhost/many:latest\n" {
				t.Errorf("%s: %q", format, out)
			}
			after := other.mustCooper(t, "manifest", "inspect", "many")
			for _, arch := range []string{"amd64", "arm64"} {
				at := strings.Index(before, "sha256:")
				if arch == "arm64" {
					at = strings.LastIndex(before, "sha256:")
				}
				if digest := before[at : at+71]; !strings.Contains(raw, digest) || !strings.Contains(after, digest) {
					t.Errorf("%s: %s is not in\n%s\n%s", format, digest, raw, after)
				}
				if got := other.mustCooper(t, "inspect", "--platform", "linux/"+arch, "-f", "{{.Config.Labels.arch}}",
					"many"); got != arch+"\n" {
					t.Errorf("%s: for %s there is %s", format, arch, got)
				}
			}
			if !strings.Contains(raw, `"a":"b"`) {
				t.Errorf("%s: the annotation is not in %s", format, raw)
			}
			one := newSite(t, m)
			one.mustCooper(t, "load", "-q", "--platform", "linux/arm64", "-i", file)
			if got := one.mustCooper(t, "inspect", "-f", "{{.Config.Labels.arch}}", "many"); got != "arm64\n" {
				t.Errorf("%s: one platform: %s", format, got)
			}
		}
	})
}
