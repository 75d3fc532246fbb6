package outputs

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestSomeOutputsHoldOnePlatformOnly(t *testing.T) {
	t.Parallel()
	one := []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}
	two := append(one, ocispec.Platform{OS: "linux", Architecture: "arm64"})
	for kind, many := range map[export.Type]bool{
		export.TypeOCI: true, export.TypeLocal: true, export.TypeDocker: false, export.TypeTar: true,
	} {
		specs := []export.Spec{{Type: kind, Dest: "x"}}
		if err := Check(one, specs, nil); err != nil {
			t.Errorf("%s, one platform: %v", kind, err)
		}
		if err := Check(two, specs, nil); (err == nil) != many || err != nil && !errors.Is(err, export.ErrManyPlatforms) {
			t.Errorf("%s, two platforms: %v", kind, err)
		}
	}
}

func TestABaseWithoutFittingHistoryGetsOne(t *testing.T) {
	t.Parallel()
	when := time.Unix(1000, 0)
	told := []imagebuilder.History{{CreatedBy: "ADD"}, {CreatedBy: "ENV", EmptyLayer: true}, {CreatedBy: "RUN"}}
	base := imagebuilder.Image{Created: &when, History: told}
	if got := baseHistory(base, 2); !cmp.Equal(got, told) {
		t.Errorf("a history that fits was changed: %v", got)
	}
	got := baseHistory(base, 3)
	if len(got) != 3 {
		t.Fatalf("%d entries for three layers", len(got))
	}
	for _, h := range got {
		if h.EmptyLayer || h.Created != &when || h.Comment == "" {
			t.Errorf("%+v", h)
		}
	}
}

func TestTheMergedLayerBelongsToTheLastStepWithOne(t *testing.T) {
	t.Parallel()
	history := []imagebuilder.History{{CreatedBy: "RUN a"}, {CreatedBy: "RUN b"}, {CreatedBy: "ENV", EmptyLayer: true}}
	keepLastLayer(history)
	var with []string
	for _, h := range history {
		if !h.EmptyLayer {
			with = append(with, h.CreatedBy)
		}
	}
	if strings.Join(with, ",") != "RUN b" {
		t.Errorf("layers are of %q", with)
	}
}

func TestEachLayerCountsOnce(t *testing.T) {
	t.Parallel()
	a, b := digest.FromString("a"), digest.FromString("b")
	images := []made{
		{image: export.Image{Layers: []export.Blob{{DiffID: a, Size: 5}, {DiffID: b, Size: 7}}}},
		{image: export.Image{Layers: []export.Blob{{DiffID: a, Size: 5}}}},
	}
	if got := sizeOfLayers(images); got != 12 {
		t.Errorf("%d bytes, want 12", got)
	}
}

func TestAnOCIOutputHasOneName(t *testing.T) {
	t.Parallel()
	names := []string{"a:1", "b:1"}
	for _, test := range []struct {
		spec export.Spec
		want []string
	}{
		{export.Spec{Type: export.TypeOCI}, []string{"a:1"}},
		{export.Spec{Type: export.TypeOCI, Names: []string{"own"}}, []string{"own"}},
		{export.Spec{Type: export.TypeDocker}, nil},
	} {
		if got := oneName(test.spec, names).Names; !cmp.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.spec.Type, got, test.want)
		}
	}
}

func TestAnIndexIsAsOldAsItsYoungestImage(t *testing.T) {
	t.Parallel()
	at := func(s int64) images.Record { return images.Record{Created: time.Unix(s, 0)} }
	features := []string{"x"}
	images := []made{
		{id: "1", record: at(5),
			image: export.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64", OSFeatures: features}}},
		{id: "2", record: at(9)}, {id: "3", record: at(7)},
	}
	index := (&Room{}).indexOf(images, []string{"n"})
	if len(index.Images) != 3 || !index.Created.Equal(time.Unix(9, 0)) || index.Names[0] != "n" {
		t.Errorf("%+v", index)
	}
	features[0] = "changed"
	if index.Images[0].Platform.OSFeatures[0] != "x" {
		t.Error("the index shares memory with the plan")
	}
}

func TestADiskThatCannotTakeAnOutputIsTold(t *testing.T) {
	t.Parallel()
	full := new(DiskError)
	if err := outputError("app.tar", syscall.ENOSPC); !errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) ||
		!strings.Contains(err.Error(), "write app.tar: ") || !strings.Contains(err.Error(), "\nhint: ") {
		t.Errorf("%v", err)
	}
	if err := outputError("app.tar", syscall.EACCES); errors.As(err, &full) || !errors.Is(err, syscall.EACCES) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsTakenOffIsCounted(t *testing.T) {
	t.Parallel()
	got := disarmedText(fileop.Disarmed{Count: 5, Names: []string{"bin/su", "bin/mount"}})
	if !strings.Contains(got, "bin/su, bin/mount and 3 more; type=tar keeps them") {
		t.Errorf("%q", got)
	}
}
