package tests_test

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// soakTime is how long builds run beside other tools, as COOPER_SOAK says, such as 30m. Without it there are so many
// builds as soakBuilds says, however long they take.
func soakTime(t *testing.T) time.Duration {
	text := os.Getenv("COOPER_SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("COOPER_SOAK: %v", err)
	}
	return d
}

const (
	soakBuilders = 4
	// soakBuilds is how many images each builder makes at least.
	soakBuilds = 2
	soakFiles  = 300
	soakShared = 100
)

// soakfile makes files whose content names the build. Builds of one epoch have a stage in common.
var soakfile = fmt.Sprintf(`FROM base AS shared
ARG EPOCH
RUN mkdir /s && for n in $(seq %[1]d); do echo "$EPOCH $n" >/s/$n; done
FROM shared
ARG NONCE
RUN mkdir /d && for n in $(seq %[2]d); do echo "$NONCE $n" >/d/$n; done
COPY --from=shared /s /t
RUN rm /s/7 && mv /d/7 /seven
COPY --link Containerfile /c
`, soakShared, soakFiles)

// TestImagesAreWholeBesideOtherTools builds beside podman and buildah, which clean up after themselves and remove
// images. Every build must succeed, and every image hold what its file says.
func TestImagesAreWholeBesideOtherTools(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSiteOnDisk(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", soakfile)
		k := &soak{t: t, site: s, end: time.Now().Add(soakTime(t)), done: make(chan string, 1000)}
		var builders, others sync.WaitGroup
		for i := range soakBuilders {
			builders.Go(func() { k.builder(i) })
		}
		others.Go(k.remover)
		for _, tools := range [][]string{
			{"podman images", "buildah rm $(buildah from scratch)", "podman image prune -f"},
			{
				"n=throwaway-$$; c=$(buildah from base) && buildah run --isolation=chroot $c touch /x; buildah commit -q --rm $c $n; podman rmi $n",
				"podman system df", "buildah rm $(buildah from base)",
			},
		} {
			others.Go(func() { k.loop(tools) })
		}
		builders.Wait()
		k.ended.Store(true)
		close(k.done)
		others.Wait()
		t.Logf("%d builds, %d wrong, %d failed; of other tools' commands %d, %d failed", k.built.Load(), k.wrong.Load(),
			k.failed.Load(),
			k.foreign.Load(), k.foreignFailed.Load())
		if err := s.unmount(); err != nil { // buildah leaves real root a mount
			t.Error(err)
		}
		s.checkNoLeftovers(t)
		s.checkStore(t, "base")
	})
}

// soak is what builders and other tools share.
type soak struct {
	t    *testing.T
	site *site
	end  time.Time
	// done has names of images that were looked at.
	done chan string

	built, wrong, failed, foreign, foreignFailed atomic.Int64
	// ended says that all builders have made their images.
	ended atomic.Bool
}

// builder builds one image after the other, and looks at each.
func (k *soak) builder(number int) {
	const epoch = 5 * time.Second
	for n := 0; n < soakBuilds || time.Now().Before(k.end); n++ {
		name, nonce := fmt.Sprintf("soak-%d:%d", number, n), fmt.Sprintf("%d-%d", number, n)
		shared := fmt.Sprint(time.Now().Unix() / int64(epoch.Seconds()))
		r := runCommand(k.t, k.site.command(suite.cooper, "build", "--progress=plain", "--build-arg=NONCE="+nonce,
			"--build-arg=EPOCH="+shared, "-t", name, "ctx"))
		k.built.Add(1)
		if r.Code != 0 {
			k.failed.Add(1)
			k.t.Errorf("build %s: status %d\n%s", name, r.Code, tail(r.Stderr))
			continue
		}
		if err := k.check(name, nonce, shared); err != nil {
			k.wrong.Add(1)
			k.t.Errorf("image %s: %v\n%s", name, err, tail(r.Stderr))
		}
		k.done <- name
	}
}

// remover removes images that were looked at.
func (k *soak) remover() {
	for name := range k.done {
		if !k.ended.Load() {
			k.other("podman rmi " + name)
		}
	}
}

// loop runs other tools, one after the other: as many at a time as there are lists of them, or builds would get hardly
// any of the processors' time.
func (k *soak) loop(scripts []string) {
	for n := 0; !k.ended.Load(); n++ {
		k.other(scripts[n%len(scripts)])
	}
}

// other runs another tool. Whether it gets along with its like is its own matter.
func (k *soak) other(script string) {
	k.foreign.Add(1)
	if r := runCommand(k.t, k.site.command("sh", "-c", script)); r.Code != 0 {
		k.foreignFailed.Add(1)
		k.t.Logf("%s: status %d: %s", script, r.Code, tail(r.Stderr))
	}
}

// check reads an image's layers out of the store by another tool and compares all files with what the build was told to
// write.
func (k *soak) check(name, nonce, shared string) (err error) {
	dir := k.site.path("copy-" + nonce)
	defer func() { err = errors.Join(err, removeTree(dir)) }()
	// It reads a layer of the same digest, of whichever image, and fails if that one is being removed: a wrong image fails
	// each time.
	for tries := 5; ; tries-- {
		r := runCommand(k.t, k.site.command("skopeo", "copy", "-q", "containers-storage:localhost/"+name, "dir:"+dir))
		if r.Code == 0 {
			break
		}
		if tries == 0 || !strings.Contains(r.Stderr, "not known") {
			return fmt.Errorf("skopeo copy: %s", tail(r.Stderr))
		}
	}
	have, err := filesOfCopy(dir)
	if err != nil {
		return err
	}
	want := map[string]string{"seven": nonce + " 7\n", "c": soakfile}
	for n := 1; n <= soakShared; n++ {
		text := fmt.Sprintf("%s %d\n", shared, n)
		want[fmt.Sprint("s/", n)], want[fmt.Sprint("t/", n)] = text, text
	}
	for n := 1; n <= soakFiles; n++ {
		want[fmt.Sprint("d/", n)] = fmt.Sprintf("%s %d\n", nonce, n)
	}
	delete(want, "s/7")
	delete(want, "d/7")
	var wrong []string
	for name, text := range want {
		if got, ok := have[name]; !ok || got != text {
			wrong = append(wrong, fmt.Sprintf("%s is %q", name, got))
		}
		delete(have, name)
	}
	for name := range have {
		if strings.Contains(name, "/") && !strings.HasPrefix(name, "bin/") && !strings.HasPrefix(name, "etc/") {
			wrong = append(wrong, name+" is there")
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return fmt.Errorf("%d files are wrong: %.500s", len(wrong), strings.Join(wrong, ", "))
	}
	return nil
}

// filesOfCopy reads the files of an image in a directory of skopeo's. Each layer must have the digests that manifest
// and config give it.
func filesOfCopy(dir string) (map[string]string, error) {
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := readJSON(filepath.Join(dir, "manifest.json"), &manifest); err != nil {
		return nil, err
	}
	if err := readJSON(filepath.Join(dir, hexOf(manifest.Config.Digest)), &config); err != nil {
		return nil, err
	}
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%d layers and %d diff IDs", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	files := map[string]string{}
	for i, l := range manifest.Layers {
		if l.Digest != config.RootFS.DiffIDs[i] {
			return nil, fmt.Errorf("layer %s has the diff ID %s", l.Digest, config.RootFS.DiffIDs[i])
		}
		if err := addLayer(files, filepath.Join(dir, hexOf(l.Digest)), hexOf(l.Digest)); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return files, nil
}

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// addLayer puts the regular files of a layer on those below.
func addLayer(files map[string]string, path, sum string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	in := io.TeeReader(bufio.NewReader(f), hash)
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name := strings.Trim(h.Name, "./")
		if gone, ok := strings.CutPrefix(filepath.Base(name), ".wh."); ok {
			gone = filepath.Join(filepath.Dir(name), gone)
			maps.DeleteFunc(files, func(name, _ string) bool { return name == gone || strings.HasPrefix(name, gone+"/") })
		} else if h.Typeflag == tar.TypeReg {
			text, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			files[name] = string(text)
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return fmt.Errorf("it reads as %s", got)
	}
	return nil
}
