package sendimage

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

func TestOneImageOfAnIndexIsTakenByItsPlatform(t *testing.T) {
	t.Parallel()
	var all []images.Outgoing
	for _, name := range []string{"linux/amd64", "linux/arm64/v8"} {
		platform := platforms.MustParse(name)
		i := images.Outgoing{Entry: ocispec.Descriptor{Digest: "sha256:" + "1", Platform: &platform}}
		if len(all) > 0 { // an entry that doesn't say what it is for: its config does
			i.Entry.Platform = nil
			i.Image.Platform = platform
		}
		all = append(all, i)
	}
	for i, want := range []string{"linux/amd64", "linux/arm64"} {
		got, err := only(all, platforms.MustParse(want))
		if err != nil || len(got) != 1 || (got[0].Entry.Platform == nil) != (i == 1) {
			t.Errorf("%s: got %+v, %v", want, got, err)
		}
	}
	if _, err := only(all, platforms.MustParse("linux/s390x")); err == nil {
		t.Error("an image for a platform that the index hasn't got")
	}
}

func TestTheFormatIsWhatTheManifestSays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]imagebuilder.Format{
		`{"mediaType":"` + imagebuilder.TypeDockerManifest + `"}`:    imagebuilder.Docker,
		`{"mediaType":"` + imagebuilder.TypeDockerList + `"}`:        imagebuilder.Docker,
		`{"mediaType":"` + ocispec.MediaTypeImageManifest + `"}`:     imagebuilder.OCI,
		`{"schemaVersion":2,"config":{"mediaType":"x"},"layers":[]}`: imagebuilder.OCI,
		// An OCI index of Docker's manifests, and a manifest that talks of Docker's.
		`{"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[{"mediaType":"` + imagebuilder.TypeDockerManifest +
			`"}]}`: imagebuilder.OCI,
		`{"mediaType":"` + ocispec.MediaTypeImageManifest + `","annotations":{"mediaType":"` +
			imagebuilder.TypeDockerManifest + `"}}`: imagebuilder.OCI,
		imagebuilder.TypeDockerManifest: imagebuilder.OCI, "": imagebuilder.OCI,
	} {
		if got := formatOf([]byte(text)); got != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
}

func TestAnImageThatTheStoreHasNotIsNotPushed(t *testing.T) {
	t.Parallel()
	s := session.New(session.Options{Store: store.Options{Root: t.TempDir(), RunRoot: t.TempDir(), Driver: "overlay"}})
	for _, all := range []bool{false, true} {
		res, err := Push(t.Context(), s, Request{Image: "nothing", To: []string{"127.0.0.1:1/x"}, AllTags: all})
		if err == nil || !strings.Contains(err.Error(), "nothing") || len(res.Names) != 0 {
			t.Errorf("all tags %t: pushed %v, %v", all, res.Names, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Push(t.Context(), s, Request{Image: "nothing"}); !errors.Is(err, session.ErrClosed) {
		t.Errorf("in a closed session: %v", err)
	}
}
