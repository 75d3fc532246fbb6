package tests_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestOddLayersOfARegistry builds on a layer with a hard link to a file of the layer below, a path twice and a whiteout
// after its file, and gives it back.
func TestOddLayersOfARegistry(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, _ := s.startRegistry(t)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile",
			"FROM base\nRUN echo below >/below; echo gone >/gone; chown 3:4 /below; chmod 640 /below\n")
		s.build(t, "-o", "type=oci,dest=layout,tar=false", "ctx")
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, f := range []struct {
			kind             byte
			name, link, text string
		}{
			{tar.TypeLink, "hard", "below", ""}, {tar.TypeReg, "twice", "", "first\n"}, {tar.TypeLink, "first", "twice", ""},
			{tar.TypeReg, "twice", "", "second\n"},
			{tar.TypeReg, "gone", "", "new\n"}, {tar.TypeReg, ".wh.gone", "", ""},
		} {
			if err := w.WriteHeader(&tar.Header{Typeflag: f.kind, Name: f.name, Linkname: f.link, Mode: 0o644,
				Size: int64(len(f.text))}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, f.text); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		stackLayer(t, s.path("layout"), archive.Bytes())
		name := address + "/odd:1"
		s.run(t, "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci:"+s.path("layout"),
			"docker://"+name)
		const steps = "\nRUN test $(cat /hard) = below -a $(stat -c %u:%g:%a /hard) = 3:4:640 -a $(cat /twice) = second -a $(cat /first) = first -a ! -e /gone\n"
		other := newSite(t, m)
		other.write(t, "ctx/Containerfile", "FROM "+name+steps)
		other.build(t, "--tls-verify=false", "-t", "app", "-o", "type=oci,compression=uncompressed,dest=app.tar", "ctx")
		if l := mustLayout(t,
			other.path("app.tar")); l.image.RootFS.DiffIDs[len(l.image.RootFS.DiffIDs)-1] != digest.FromBytes(archive.Bytes()) {
			t.Errorf("the layer is not the one that was pulled: %v", l.image.RootFS.DiffIDs)
		}
		other.run(t, "podman", "push", "-q", "--tls-verify=false", "app", address+"/back:1")
		other.checkStore(t, "app")
		third := newSite(t, m)
		third.write(t, "ctx/Containerfile", "FROM "+address+"/back:1"+steps)
		third.build(t, "--tls-verify=false", "ctx")
	})
}

// stackLayer puts a layer on top of the image of a layout.
func stackLayer(t *testing.T, dir string, layer []byte) {
	t.Helper()
	read := func(name string, into any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	blob := func(d digest.Digest) string { return filepath.Join("blobs", d.Algorithm().String(), d.Encoded()) }
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put := func(d *ocispec.Descriptor, content any) {
		t.Helper()
		text, ok := content.([]byte)
		if !ok {
			var err error
			if text, err = json.Marshal(content); err != nil {
				t.Fatal(err)
			}
		}
		d.Digest, d.Size = digest.FromBytes(text), int64(len(text))
		write(blob(d.Digest), text)
	}
	var index ocispec.Index
	var manifest ocispec.Manifest
	var config map[string]any
	read("index.json", &index)
	read(blob(index.Manifests[0].Digest), &manifest)
	read(blob(manifest.Config.Digest), &config)
	added := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer}
	put(&added, layer)
	rootfs, ok := config["rootfs"].(map[string]any)
	if !ok {
		t.Fatalf("the config is %v", config)
	}
	ids, _ := rootfs["diff_ids"].([]any)
	rootfs["diff_ids"] = append(ids, added.Digest)
	delete(config, "history")
	manifest.Layers = append(manifest.Layers, added)
	put(&manifest.Config, config)
	put(&index.Manifests[0], manifest)
	text, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	write("index.json", text)
}
