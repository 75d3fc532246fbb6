package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestImagesSurviveTheRoundTrip(t *testing.T) {
	image := sampleImage(t)
	image.Names = []string{"localhost/app:v1", "registry.example:5000/app", "localhost/app:v1"}
	for _, c := range []struct {
		kind  Compression
		media string
	}{
		{Gzip, ocispec.MediaTypeImageLayerGzip}, {Zstd, ocispec.MediaTypeImageLayerZstd},
		{Uncompressed, ocispec.MediaTypeImageLayer},
	} {
		for _, directory := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s directory=%v", c.kind, directory), func(t *testing.T) {
				dir := t.TempDir()
				dest := filepath.Join(dir, "out")
				result := write(t, Spec{Type: TypeOCI, Dest: dest, Directory: directory, Compression: c.kind}, image)
				var files map[string][]byte
				if directory {
					files = readDir(t, dest)
				} else {
					data, err := os.ReadFile(dest)
					if err != nil {
						t.Fatal(err)
					}
					files = untar(t, data)
				}
				index := indexOf(t, files)
				var tags []string
				for _, d := range index.Manifests {
					checkLayout(t, files, d, image)
					tags = append(tags, d.Annotations["org.opencontainers.image.ref.name"]+" "+
						d.Annotations["io.containerd.image.name"])
					if d.Digest != result.Manifest.Digest || d.Platform.Architecture != "amd64" {
						t.Errorf("index entry is %+v", d)
					}
				}
				if want := []string{"v1 localhost/app:v1", "latest registry.example:5000/app:latest"}; !reflect.DeepEqual(tags,
					want) {
					t.Errorf("names are %q, want %q", tags, want)
				}
				if result.ImageID != digest.FromBytes(image.Config) || result.Layers[2].MediaType != c.media ||
					len(result.Layers) != 5 {
					t.Errorf("result is %+v", result)
				}
				if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
					t.Errorf("left behind: %q, %v", left, err)
				}
			})
		}
	}
}

func TestOtherToolsAcceptTheArchives(t *testing.T) {
	image := sampleImage(t)
	dir := t.TempDir()
	for name, spec := range map[string]Spec{
		"oci-archive": {Type: TypeOCI}, "oci-archive zstd": {Type: TypeOCI, Compression: Zstd},
		"oci-archive zstd:chunked": {Type: TypeOCI, Compression: ZstdChunked},
		"oci-archive uncompressed": {Type: TypeOCI, Compression: Uncompressed},
		"docker-archive":           {Type: TypeDocker}, "oci": {Type: TypeOCI, Directory: true},
	} {
		t.Run(name, func(t *testing.T) {
			spec.Dest = filepath.Join(dir, strings.NewReplacer(" ", "-", ":", "-").Replace(name))
			write(t, spec, image)
			transport, _, _ := strings.Cut(name, " ")
			source := transport + ":" + spec.Dest
			var seen struct{ Layers []string }
			if err := json.Unmarshal([]byte(run(t, "skopeo", "inspect", source)), &seen); err != nil || len(seen.Layers) != 5 {
				t.Errorf("skopeo sees %+v, %v", seen, err)
			}
			run(t, "skopeo", "--insecure-policy", "copy", source, "dir:"+filepath.Join(t.TempDir(), "copy"))
			if config := run(t, "skopeo", "inspect", "--raw", "--config",
				source); digest.FromString(config) != digest.FromBytes(image.Config) {
				t.Error("skopeo reads another config")
			}
		})
	}
	layout := filepath.Join(dir, "oci")
	bundle := filepath.Join(t.TempDir(), "bundle")
	args := []string{"unpack", "--image", layout + ":v1", bundle}
	if os.Getuid() != 0 {
		args = append(args[:1:1], append([]string{"--rootless"}, args[1:]...)...)
	}
	run(t, "umoci", args...)
	if info, err := os.Stat(filepath.Join(bundle, "rootfs", "b")); err != nil || info.Size() != 5<<20 {
		t.Errorf("umoci unpacks %v, %v", info, err)
	}
}

func TestDockerArchiveHasAManifestOfItsOwn(t *testing.T) {
	image := sampleImage(t)
	var out bytes.Buffer
	if _, err := Write(context.Background(), Spec{Type: TypeDocker, Dest: Stdout}, image, &out); err != nil {
		t.Fatal(err)
	}
	files := untar(t, out.Bytes())
	var got []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &got); err != nil || len(got) != 1 {
		t.Fatalf("manifest.json is %s: %v", files["manifest.json"], err)
	}
	if !bytes.Equal(files[got[0].Config], image.Config) ||
		!reflect.DeepEqual(got[0].RepoTags, []string{"localhost/app:v1"}) {
		t.Errorf("manifest.json is %+v", got)
	}
	for i, l := range got[0].Layers {
		if digest.FromBytes(files[l]) != image.Layers[i].DiffID {
			t.Errorf("layer %d is wrong", i)
		}
	}
	checkLayout(t, files, indexOf(t, files).Manifests[0], image)
}

func TestSameImageGivesSameBytes(t *testing.T) {
	image := imageOf(t, blobOf(layerTar(t, "a", 1000)), blobOf(layerTar(t, "b", 2*zstdBlock+1)), blobOf(nil))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, spec := range []Spec{{Type: TypeOCI}, {Type: TypeOCI, Compression: Zstd}, {Type: TypeDocker}} {
		spec.Dest = Stdout
		var want digest.Digest
		for _, cores := range []int{1, 2, 7} {
			runtime.GOMAXPROCS(cores)
			var out bytes.Buffer
			if _, err := Write(context.Background(), spec, image, &out); err != nil {
				t.Fatal(err)
			}
			got := digest.FromBytes(out.Bytes())
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("%s %s on %d cores: %s, before %s", spec.Type, spec.Compression, cores, got, want)
			}
		}
	}
}

// faultyReader gives data, then fails.
type faultyReader struct {
	io.Reader
	atEnd, atClose error
}

func (f *faultyReader) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF && f.atEnd != nil {
		err = f.atEnd
	}
	return n, err
}

func (f *faultyReader) Close() error { return f.atClose }

func TestBadLayersAreFoundAndNothingIsLeft(t *testing.T) {
	good := layerTar(t, "good", 2<<20)
	broken := errors.New("disk on fire")
	for name, c := range map[string]struct {
		change func(*Blob)
		want   error
	}{
		"other content": {func(b *Blob) { b.DiffID = digest.FromString("x") }, ErrDigest},
		"too long":      {func(b *Blob) { b.Size-- }, ErrDigest},
		"too short":     {func(b *Blob) { b.Size++ }, ErrDigest},
		"open fails":    {func(b *Blob) { b.Open = func() (io.ReadCloser, error) { return nil, broken } }, broken},
		"read fails": {func(b *Blob) {
			b.Open = func() (io.ReadCloser, error) { return &faultyReader{bytes.NewReader(good), broken, nil}, nil }
		}, broken},
		"close fails": {func(b *Blob) {
			b.Open = func() (io.ReadCloser, error) { return &faultyReader{bytes.NewReader(good), nil, broken}, nil }
		}, broken},
	} {
		bad := blobOf(good)
		c.change(&bad)
		image := imageOf(t, blobOf(layerTar(t, "first", 100)), bad, blobOf(layerTar(t, "last", 100)))
		for _, compression := range []Compression{Gzip, Zstd, ZstdChunked, EStargz, Uncompressed} {
			eachDestination(t, name+" "+string(compression), func(t *testing.T, spec Spec) {
				spec.Compression = compression
				_, err := Write(context.Background(), spec, image, nil)
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), bad.DiffID.String()) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			}, destinationsOf(compression)...)
		}
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	data := layerTar(t, "big", 8<<20)
	stop := errors.New("ctrl-c")
	for _, compression := range []Compression{Gzip, Zstd, ZstdChunked, EStargz, Uncompressed} {
		eachDestination(t, string(compression), func(t *testing.T, spec Spec) {
			bad := blobOf(data)
			image := imageOf(t, blobOf(layerTar(t, "first", 100)), bad, blobOf(layerTar(t, "last", 100)))
			spec.Compression = compression
			// The bubble fails the test if a goroutine is left.
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				image.Layers[1].Open = func() (io.ReadCloser, error) {
					half := io.LimitReader(bytes.NewReader(data), int64(len(data)/2))
					cancelled := readFunc(func([]byte) (int, error) { cancel(stop); return 0, nil })
					return io.NopCloser(io.MultiReader(half, cancelled)), nil
				}
				if _, err := Write(ctx, spec, image, nil); !errors.Is(err, stop) {
					t.Errorf("got %v, want %v", err, stop)
				}
			})
		}, destinationsOf(compression)...)
	}
}

// destinationsOf are the kinds of destination that eachDestination tries a compression with: the usual one meets all,
// each of the others the kind that has most to lose.
func destinationsOf(c Compression) []string {
	if c == Gzip {
		return nil
	}
	return []string{"old layout"}
}

// eachDestination runs a write that must fail against each kind of destination, or only some, and checks that nothing
// there has changed.
func eachDestination(t *testing.T, name string, try func(*testing.T, Spec), only ...string) {
	t.Helper()
	for kind, prepare := range map[string]func(*testing.T, string) Spec{
		"new archive": func(_ *testing.T, dir string) Spec { return Spec{Dest: filepath.Join(dir, "a.tar")} },
		"old archive": func(t *testing.T, dir string) Spec {
			if err := os.WriteFile(filepath.Join(dir, "a.tar"), []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			return Spec{Dest: filepath.Join(dir, "a.tar")}
		},
		"new directory": func(_ *testing.T, dir string) Spec {
			return Spec{Dest: filepath.Join(dir, "a"), Directory: true}
		},
		"empty directory": func(_ *testing.T, dir string) Spec { return Spec{Dest: dir, Directory: true} },
		"old layout": func(t *testing.T, dir string) Spec {
			spec := Spec{Type: TypeOCI, Dest: filepath.Join(dir, "a"), Directory: true}
			write(t, spec, imageOf(t, blobOf(layerTar(t, "old", 100))))
			return spec
		},
	} {
		if len(only) > 0 && !slices.Contains(only, kind) {
			continue
		}
		t.Run(name+" "+kind, func(t *testing.T) {
			dir := t.TempDir()
			spec := prepare(t, dir)
			spec.Type = TypeOCI
			list, files := names(t, dir), readDir(t, dir)
			try(t, spec)
			if after := names(t, dir); after != list || !reflect.DeepEqual(readDir(t, dir), files) {
				t.Errorf("there was %s, now there is %s", list, after)
			}
		})
	}
}

func TestFullDiskIsOneClearError(t *testing.T) {
	image := sampleImage(t)
	for _, c := range []Compression{Gzip, Uncompressed} {
		_, err := Write(context.Background(), Spec{Type: TypeOCI, Dest: "/dev/full", Compression: c}, image, nil)
		if want := "export image: write /dev/full: no space left on device"; !errors.Is(err, syscall.ENOSPC) ||
			err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestTerminalsGetNoArchive(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	if _, err := Write(context.Background(), Spec{Type: TypeOCI, Dest: Stdout}, sampleImage(t), terminal); !errors.Is(err,
		ErrTerminal) {
		t.Errorf("got %v", err)
	}
}

func TestCancelledBeforehand(t *testing.T) {
	eachDestination(t, "no layers", func(t *testing.T, spec Spec) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := Write(ctx, spec, imageOf(t), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestImagesThatContradictThemselvesAreRefused(t *testing.T) {
	good := sampleImage(t)
	negative := blobOf(nil)
	negative.Size = -5
	for name, image := range map[string]Image{
		"size is negative":   imageOf(t, negative),
		"config isn't JSON":  {Config: []byte("x")},
		"layers are missing": {Config: good.Config, Layers: good.Layers[:2]},
		"layers are swapped": {Config: good.Config, Layers: append([]Blob{good.Layers[1], good.Layers[0]},
			good.Layers[2:]...)},
		"name is bad": {Config: good.Config, Layers: good.Layers, Names: []string{"UPPER"}},
		"no digest":   {Config: good.Config, Layers: make([]Blob, 5)},
	} {
		eachDestination(t, name, func(t *testing.T, spec Spec) {
			if _, err := Write(context.Background(), spec, image, nil); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestLayoutsAreAddedTo(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "layout")
	spec := Spec{Type: TypeOCI, Dest: dest, Directory: true}
	one, two := imageOf(t, blobOf(layerTar(t, "one", 100))), imageOf(t, blobOf(layerTar(t, "two", 100)))
	tags := func() string {
		var out []string
		files := readDir(t, dest)
		for _, d := range indexOf(t, files).Manifests {
			image := one
			if d.Digest != write1(t, one) {
				image = two
			}
			checkLayout(t, files, d, image)
			out = append(out, d.Annotations[ocispec.AnnotationRefName]+"="+map[bool]string{true: "one",
				false: "two"}[d.Digest == write1(t, one)])
		}
		return strings.Join(out, " ")
	}
	for _, step := range []struct {
		image Image
		names []string
		want  string
	}{
		{one, []string{"app:v1"}, "v1=one"},
		{two, []string{"app:v2"}, "v1=one v2=two"},
		{two, []string{"app:v1"}, "v2=two v1=two"},
		{one, nil, "v2=two v1=two =one"},
		{one, nil, "v2=two v1=two =one"},
		{one, []string{"app:v2"}, "v1=two =one v2=one"},
	} {
		step.image.Names = step.names
		write(t, spec, step.image)
		if got := tags(); got != step.want {
			t.Errorf("index has %q, want %q", got, step.want)
		}
	}
}

// write1 gives the digest that the image's manifest has after compression.
func write1(t *testing.T, image Image) digest.Digest {
	t.Helper()
	result, err := Write(context.Background(), Spec{Type: TypeOCI, Dest: Stdout}, image, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return result.Manifest.Digest
}

func TestManyMayAddToOneLayoutAtOnce(t *testing.T) {
	dir := t.TempDir()
	for name, dest := range map[string]string{"new": filepath.Join(dir, "new"), "empty": t.TempDir()} {
		t.Run(name, func(t *testing.T) { addAtOnce(t, dest) })
	}
	if left := names(t, dir); strings.Contains(left, ".cooper-") {
		t.Errorf("left behind: %s", left)
	}
}

func addAtOnce(t *testing.T, dest string) {
	t.Helper()
	var group sync.WaitGroup
	for n := range 12 {
		image := imageOf(t, blobOf(layerTar(t, "common", 1000)), blobOf(layerTar(t, fmt.Sprint(n), 1000)))
		image.Names = []string{fmt.Sprintf("app:v%d", n)}
		group.Go(func() {
			if _, err := Write(context.Background(), Spec{Type: TypeOCI, Dest: dest, Directory: true}, image, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	files := readDir(t, dest)
	if got := len(indexOf(t, files).Manifests); got != 12 {
		t.Errorf("%d manifests of 12", got)
	}
	if got, want := len(files), 2+12*3+1; got != want {
		t.Errorf("%d files of %d: %s", got, want, names(t, dest))
	}
}

func TestOtherDirectoriesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	image := sampleImage(t)
	_, err := Write(context.Background(), Spec{Type: TypeOCI, Dest: dir, Directory: true}, image, nil)
	if want := "directory " + dir + " is neither empty nor an OCI image layout"; !errors.Is(err, ErrNotLayout) ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, spec := range []Spec{
		{Type: TypeOCI, Dest: dir}, {Type: TypeOCI, Dest: filepath.Join(dir, "thesis.txt"), Directory: true},
		{Type: TypeOCI, Dest: filepath.Join(dir, "no", "such")},
		{Type: TypeOCI, Dest: filepath.Join(dir, "no", "such"), Directory: true},
		{Type: TypeOCI, Dest: Stdout}, {},
	} {
		if _, err := Write(context.Background(), spec, image, nil); err == nil {
			t.Errorf("%+v: no error", spec)
		}
	}
	if got := names(t, dir); got != "[thesis.txt]" {
		t.Errorf("directory holds %s", got)
	}
}

func TestMemoryStaysWithinItsBudget(t *testing.T) {
	if kind := os.Getenv("EXPORT_TEST_MEMORY"); kind != "" {
		exportZeros(t, Compression(kind))
		return
	}
	for _, c := range []Compression{Gzip, Zstd, ZstdChunked, EStargz, Uncompressed} {
		t.Setenv("EXPORT_TEST_MEMORY", string(c))
		// Memory grows with the threads, so that their number must not be the machine's.
		t.Setenv("GOMAXPROCS", "2")
		t.Setenv("GOMEMLIMIT", "64MiB") // as the program has
		out := run(t, os.Args[0], "-test.run=^TestMemoryStaysWithinItsBudget$", "-test.v")
		_, peak, ok := strings.Cut(out, "peak KiB: ")
		var kib int
		if _, err := fmt.Sscan(peak, &kib); !ok || err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		t.Logf("%s: %d KiB", c, kib)
		most := 30 << 10
		switch c {
		case Zstd:
			most = 96 << 10 // the library's, which has five parts of a layer at a time, and what they are compressed to
		case ZstdChunked:
			most = 256 << 10 // the library's, of one layer at a time: it doesn't grow with the layers
		}
		if kib > most {
			t.Errorf("%s needs %d KiB", c, kib)
		}
	}
}

// exportZeros exports layers of nothing and of noise and says how much memory the process has had at most.
func exportZeros(t *testing.T, c Compression) {
	t.Helper()
	noise := layerTar(t, "noise", 1<<20)
	big := repeat(noise, 64)
	image := imageOf(t, big, repeat(noise, 4), repeat(noise, 3), repeat(noise, 5))
	// Sys is what the Go runtime has asked the system for; it never gets less.
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Write(context.Background(), Spec{Type: TypeOCI, Dest: filepath.Join(t.TempDir(), "a"), Compression: c},
		image, nil); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	fmt.Println("peak KiB:", (after.Sys-before.Sys)>>10)
}
