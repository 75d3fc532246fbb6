package tests_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPulledImageIsAsPodmanPullsIt compares what cooper and podman leave in their stores, record for record.
func TestPulledImageIsAsPodmanPullsIt(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		from := newSite(t, m)
		address, _ := from.startRegistry(t)
		from.busybox(t, "base")
		from.write(t, "more/Containerfile", "FROM base\nRUN ln -s /bin/sh /link; mkdir -p /d/e; ln /etc/passwd /d/hard; rm /etc/group; chown 33:33 /d\nRUN rm -r /d && mkdir /d && echo x >/d/y\n")
		from.build(t, "-t", "app", "-o", "type=oci,dest=zstd.tar,compression=zstd", "more")
		for _, kind := range []string{"oci", "v2s2", "index", "zstd"} {
			t.Run(kind, func(t *testing.T) {
				name := address + "/" + kind + "/app:1"
				from.pushAs(t, kind, "localhost/app:latest", name)
				ours, theirs := newSite(t, m), newSite(t, m)
				ours.write(t, "ctx/Containerfile", "FROM "+name+"\nRUN test -L /link -a -f /d/y -a ! -e /d/e -a ! -e /etc/group\n")
				ours.build(t, "--tls-verify=false", "ctx")
				theirs.run(t, "podman", "pull", "-q", "--tls-verify=false", name)
				if diff := cmp.Diff(theirs.storeRecords(t, name), ours.storeRecords(t, name)); diff != "" {
					t.Errorf("podman (-) and cooper (+) differ:\n%s", diff)
				}
				if got := fmt.Sprint(ours.storeRecords(t, name)); strings.Contains(got, "compression:4") != (kind == "zstd") {
					t.Errorf("the layers were not pushed as %s: %s", kind, got)
				}
				if kind == "index" {
					ours.checkReaders(t, name)
				}
			})
		}
	})
}

// pushAs puts an image of the store into a registry in one of the forms that there are.
func (s *site) pushAs(t *testing.T, kind, image, name string) {
	t.Helper()
	image = "containers-storage:" + image
	copyTo := []string{"--insecure-policy", "copy", "-q", "--dest-tls-verify=false"}
	switch kind {
	case "v2s2":
		copyTo = append(copyTo, "--format=v2s2")
	case "zstd":
		image = "oci-archive:zstd.tar"
	case "index":
		list := "list" + strings.NewReplacer(":", "-", "/", "-").Replace(name)
		s.run(t, "buildah", "manifest", "create", list, strings.TrimPrefix(image, "containers-storage:"))
		s.run(t, "buildah", "manifest", "push", "--tls-verify=false", "--all", list, "docker://"+name)
		return
	default:
		copyTo = append(copyTo, "--format=oci")
	}
	s.run(t, "skopeo", append(copyTo, image, "docker://"+name)...)
}

// storeRecords are the records of an image and of its layers, without what is different at every pull.
func (s *site) storeRecords(t *testing.T, name string) map[string]any {
	t.Helper()
	type record = map[string]any
	var images, layers []record
	for file, into := range map[string]*[]record{"overlay-images/images.json": &images, "overlay-layers/layers.json": &layers} {
		text, err := os.ReadFile(filepath.Join(s.store(), file))
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]any{}
	for _, img := range images {
		if names, _ := img["names"].([]any); !slices.Contains(names, any(name)) {
			continue
		}
		all["image"] = img
		for _, key := range []string{"big-data-names", "names-history"} {
			if list, ok := img[key].([]any); ok {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			}
		}
		id := img["id"].(string)
		for layer, _ := img["layer"].(string); layer != ""; {
			i := slices.IndexFunc(layers, func(l record) bool { return l["id"] == layer })
			if i < 0 {
				t.Fatalf("layer %s is missing", layer)
			}
			delete(layers[i], "created")
			all["layer "+layer] = layers[i]
			layer, _ = layers[i]["parent"].(string)
		}
		entries, err := os.ReadDir(filepath.Join(s.store(), "overlay-images", id))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			text, err := os.ReadFile(filepath.Join(s.store(), "overlay-images", id, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all["data "+e.Name()] = string(bytes.TrimSpace(text))
		}
	}
	if all["image"] == nil {
		t.Fatalf("there is no image %s", name)
	}
	return all
}

// checkReaders has other tools use a pulled image.
func (s *site) checkReaders(t *testing.T, name string) {
	t.Helper()
	s.run(t, "podman", "run", "--rm", "--network=host", name, "test", "-f", "/d/y")
	s.run(t, "podman", "image", "inspect", name)
	container := strings.TrimSpace(s.run(t, "buildah", "from", "--pull-never", name))
	s.run(t, "buildah", "rm", container)
	s.run(t, "skopeo", "--insecure-policy", "copy", "-q", "containers-storage:"+name, "dir:"+s.path("copied"))
}
