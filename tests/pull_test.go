package tests_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPulledImageIsAsPodmanPullsIt compares what cooper and podman leave in their stores, record for record.
func TestPulledImageIsAsPodmanPullsIt(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		from := newSite(t, m)
		address, _ := from.startRegistry(t)
		from.busybox(t, "base")
		from.write(t, "more/Containerfile",
			"FROM base\nRUN ln -s /bin/sh /link; mkdir -p /d/e; ln /etc/passwd /d/hard; rm /etc/group; chown 33:33 /d\nRUN rm -r /d && mkdir /d && echo x >/d/y\n")
		from.build(t, "-t", "app", "-o", "type=oci,dest=zstd.tar,compression=zstd", "more")
		for i, kind := range []string{"oci", "v2s2", "index", "zstd"} {
			if i > 0 && !m.takes(i) { // who pulls has to do with the layers, which all kinds have alike
				continue
			}
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
	for file, into := range map[string]*[]record{"overlay-images/images.json": &images,
		"overlay-layers/layers.json": &layers} {
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

// haltingRegistry passes requests on to another registry. The first blob that is larger than 1 MiB it sends by half,
// and then waits: halted is closed at that moment, and proceed lets it, and all that come later, go on.
func haltingRegistry(t *testing.T, address string) (halting string, halted <-chan struct{}, proceed func()) {
	t.Helper()
	half, on := make(chan struct{}), make(chan struct{})
	var first, release sync.Once
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	proxy.ErrorLog = log.New(io.Discard, "", 0) // clients are stopped on purpose
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		body := answer.Body.Bytes()
		if len(body) > 1<<20 {
			first.Do(func() {
				_, _ = w.Write(body[:len(body)/2]) // whoever reads it may be gone
				w.(http.Flusher).Flush()
				body = body[len(body)/2:]
				close(half)
				select {
				case <-on:
				case <-r.Context().Done():
				}
			})
		}
		_, _ = w.Write(body)
	}))
	proceed = func() { release.Do(func() { close(on) }) }
	t.Cleanup(func() { proceed(); server.Close() })
	return strings.TrimPrefix(server.URL, "http://"), half, proceed
}

// bigImage is the archive of an image with two large layers: one that can't be compressed, and one that can. All tests
// share it, for to make and to compress it takes longer than most of them.
var bigImage = sync.OnceValues(func() (path string, err error) {
	dir, err := os.MkdirTemp(suite.dir, "s-")
	if err != nil {
		return "", err
	}
	s, err := openSite(suite.modes[0], dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	const file = "FROM scratch\nADD base.tar /\nENV PATH=/bin\nRUN head -c 30000000 /dev/urandom >/random\n" +
		"RUN head -c 30000000 /dev/zero >/zeros\n"
	path = filepath.Join(suite.dir, "big.tar")
	if err := errors.Join(s.makeBusybox(), os.WriteFile(s.path("busybox/Big"), []byte(file), 0o644)); err != nil {
		return "", err
	}
	cmd := s.command(suite.cooper, "build", "-q", "-o", "type=oci,dest="+s.path("big.tar"), "-f", "busybox/Big", "busybox")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the big image: %w\n%s", err, out)
	}
	return path, errors.Join(os.Chmod(s.path("big.tar"), 0o644), os.Rename(s.path("big.tar"), path))
})

// pushBig puts the big image into a registry.
func (s *site) pushBig(t *testing.T, name string) {
	t.Helper()
	path, err := bigImage()
	if err != nil {
		t.Fatal(err)
	}
	s.run(t, "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci-archive:"+path, "docker://"+name)
}

func TestPullThatIsStopped(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		from := newSite(t, m)
		address, _ := from.startRegistry(t)
		from.pushBig(t, address+"/lib/big:1")
		for i, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
			if !m.takes(i) {
				continue
			}
			t.Run(signal.String(), func(t *testing.T) {
				halting, halted, proceed := haltingRegistry(t, address)
				s := newSite(t, m)
				s.write(t, "ctx/Containerfile",
					"FROM "+halting+"/lib/big:1\nRUN test $(wc -c </random) = 30000000 -a $(wc -c </zeros) = 30000000\n")
				cmd := s.command(suite.cooper, "build", "--tls-verify=false", "-t", "app", "ctx")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				<-halted
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // it was stopped
				if code := cmd.ProcessState.ExitCode(); signal == syscall.SIGINT && code != 130 {
					t.Errorf("exit status %d, not 130", code)
				}
				proceed()
				s.build(t, "--tls-verify=false", "-t", "app", "ctx")
				s.checkNoLeftovers(t)
				s.checkStore(t, "app")
			})
		}
	})
}

func TestPullsAtTheSameTime(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		from := newSite(t, m)
		address, _ := from.startRegistry(t)
		name := address + "/lib/big:1"
		from.pushBig(t, name)
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile",
			"FROM "+name+"\nRUN test $(wc -c </random) = 30000000 -a $(wc -c </zeros) = 30000000\n")
		// Each build runs the step itself, at its own time.
		args := []string{"--tls-verify=false", "--pull", "--build-arg", "SOURCE_DATE_EPOCH=1000000000", "-t", "app", "ctx"}
		ids := s.atOnce(t, [][]string{args, args, args})
		if ids[0] == "" || ids[0] != ids[1] || ids[1] != ids[2] {
			t.Errorf("pulls at the same time gave %s", strings.Join(ids, ", "))
		}
		s.checkNoLeftovers(t)
		s.checkStore(t, "app")
		if n := strings.Count(s.run(t, "podman", "images", "-a", "--format", "{{.Repository}}"), "lib/big"); n != 1 {
			t.Errorf("the image is there %d times", n)
		}
	})
}

func TestAsRootPullOnAFullDisk(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		from := newSite(t, m)
		address, _ := from.startRegistry(t)
		from.pushBig(t, address+"/lib/big:1")
		from.busybox(t, "base")
		from.pushAs(t, "oci", "localhost/base:latest", address+"/lib/small:1")
		s := newSite(t, m)
		s.smallDisk(t, 40, 10000)
		build := []string{"build", "--root", s.path("disk/store"), "--runroot", s.path("run/disk"), "--tls-verify=false",
			"ctx"}
		s.write(t, "ctx/Containerfile", "FROM "+address+"/lib/big:1\nRUN true\n")
		s.cooper(t, build...).fails(t, 125, "is full", "cooper prune")
		s.write(t, "ctx/Containerfile", "FROM "+address+"/lib/small:1\nRUN true\n")
		if r := s.cooper(t, build...); r.Code != 0 {
			t.Errorf("with room again: status %d\n%s", r.Code, tail(r.Stderr))
		}
		if entries, err := os.ReadDir(s.path("disk/store/cooper/tmp")); err != nil || len(entries) > 0 {
			t.Errorf("left in the store: %v %v", entries, err)
		}
	})
}
