package pullimage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/build/session/sessiontest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// shop is a registry and a session that pulls from it.
type shop struct {
	*registrytest.Server
	*sessiontest.Session
}

func open(t *testing.T) shop {
	t.Helper()
	registrytest.Home(t, "")
	return shop{registrytest.New(t), sessiontest.Open(t)}
}

// content puts something into a repository and describes it.
func (s shop) content(t *testing.T, repo, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	kind := "/blobs/"
	if strings.Contains(mediaType, "manifest") || strings.Contains(mediaType, "index") {
		kind = "/manifests/"
	}
	s.Set(repo+kind+d.Digest.String(), text)
	return d
}

// image puts an image without layers into a repository; author makes it another one. The ID is that of its config.
func (s shop) image(t *testing.T, repo, platform, author string) (d ocispec.Descriptor, id string) {
	t.Helper()
	p := platforms.MustParse(platform)
	config := s.content(t, repo, ocispec.MediaTypeImageConfig, ocispec.Image{Author: author, Platform: p,
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}})
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{}}
	m.SchemaVersion = 2
	d = s.content(t, repo, ocispec.MediaTypeImageManifest, m)
	d.Platform = &p
	return d, config.Digest.Encoded()
}

// tag gives a manifest a name.
func (s shop) tag(repo, tag string, d ocispec.Descriptor) {
	s.Set(repo+"/manifests/"+tag, s.Content(repo+"/manifests/"+d.Digest.String()))
}

// index puts an index of images into a repository under a tag.
func (s shop) index(t *testing.T, repo, tag string, all ...ocispec.Descriptor) {
	t.Helper()
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: all}
	index.SchemaVersion = 2
	s.tag(repo, tag, s.content(t, repo, ocispec.MediaTypeImageIndex, index))
}

// tags has a repository tell its tags.
func (s shop) tags(repo string, tags ...string) {
	text, _ := json.Marshal(map[string]any{"name": repo, "tags": tags}) // it was made of strings
	s.Set(repo+"/tags/list", text)
}

func (s shop) pull(ctx context.Context, req Request) (got []string, err error) {
	all, err := Pull(ctx, s.Session.Session, req)
	for _, p := range all {
		got = append(got, strings.TrimPrefix(p.Name, s.Host()+"/")+" "+p.ID)
	}
	return got, err
}

func TestAnImageIsPulledOnce(t *testing.T) {
	s := open(t)
	d, id := s.image(t, "lib/app", "linux/amd64", "one")
	s.tag("lib/app", "1", d)
	for range 2 {
		got, err := s.pull(t.Context(), Request{Image: s.Host() + "/lib/app:1"})
		if diff := cmp.Diff([]string{"lib/app:1 " + id}, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	s.Requests("")
	if _, err := s.pull(t.Context(), Request{Image: s.Host() + "/lib/app:1"}); err != nil || len(s.Requests("")) > 0 {
		t.Errorf("what is there is asked for: %v", err)
	}
	next, newID := s.image(t, "lib/app", "linux/amd64", "two")
	s.tag("lib/app", "1", next)
	got, err := s.pull(t.Context(), Request{Image: s.Host() + "/lib/app:1", Policy: bases.PullAlways})
	if diff := cmp.Diff([]string{"lib/app:1 " + newID}, got); err != nil || diff != "" {
		t.Errorf("always: %v (-want +got):\n%s", err, diff)
	}
	_, err = s.pull(t.Context(), Request{Image: s.Host() + "/lib/other:1", Policy: bases.PullNever})
	if err == nil || len(s.Requests("GET /v2/lib/other")) > 0 {
		t.Errorf("never: %v", err)
	}
}

func TestSeveralPlatformsBecomeAnIndex(t *testing.T) {
	s := open(t)
	amd, amdID := s.image(t, "lib/app", "linux/amd64", "x")
	arm, armID := s.image(t, "lib/app", "linux/arm64", "x")
	windows := arm
	windows.Platform = &ocispec.Platform{OS: "windows", Architecture: "amd64"}
	s.index(t, "lib/app", "1", amd, arm, windows)
	for name, req := range map[string]Request{
		"asked for": {Platforms: []ocispec.Platform{*amd.Platform, *arm.Platform}}, "all of Linux": {AllPlatforms: true},
	} {
		req.Image = s.Host() + "/lib/app:1"
		all, err := Pull(t.Context(), s.Session.Session, req)
		if err != nil || len(all) != 1 || all[0].Name != req.Image {
			t.Fatalf("%s: %v, %v", name, all, err)
		}
		for _, want := range []struct {
			p  *ocispec.Platform
			id string
		}{{amd.Platform, amdID}, {arm.Platform, armID}} {
			if found, err := s.Store.Images.FindFor(t.Context(), req.Image, *want.p); err != nil || found.ID != want.id {
				t.Errorf("%s for %v: %s, %v", name, want.p, found.ID, err)
			}
		}
	}
	got, err := s.pull(t.Context(), Request{Image: s.Host() + "/lib/app:1", Platforms: []ocispec.Platform{*arm.Platform}})
	if err != nil || len(got) != 1 || !strings.HasSuffix(got[0], armID) {
		t.Errorf("one platform: %v, %v", got, err)
	}
	_, err = s.pull(t.Context(), Request{Image: s.Host() + "/lib/app:1",
		Platforms: []ocispec.Platform{platforms.MustParse("linux/s390x"), *arm.Platform}})
	if err == nil || !strings.Contains(err.Error(), "s390x") {
		t.Errorf("a platform that it hasn't: %v", err)
	}
}

func TestOneImageForTwoPlatformsIsNoIndex(t *testing.T) {
	s := open(t)
	amd, _ := s.image(t, "lib/app", "linux/amd64", "x")
	other := amd
	other.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	s.index(t, "lib/app", "1", amd, other)
	_, err := s.pull(t.Context(), Request{Image: s.Host() + "/lib/app:1",
		Platforms: []ocispec.Platform{*amd.Platform, *other.Platform}})
	if err == nil {
		t.Error("it was pulled")
	}
}

func TestAllTagsOfARepositoryArePulled(t *testing.T) {
	s := open(t)
	var want []string
	for _, tag := range []string{"1", "2", "latest"} {
		d, id := s.image(t, "lib/app", "linux/amd64", tag)
		s.tag("lib/app", tag, d)
		want = append(want, "lib/app:"+tag+" "+id)
	}
	s.tags("lib/app", "1", "2", "latest")
	got, err := s.pull(t.Context(), Request{Image: s.Host() + "/lib/app", AllTags: true})
	slices.Sort(got)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// One that can't be pulled ends it; those before it stay, and are told.
	s.tags("lib/app", "1", "gone", "2")
	got, err = s.pull(t.Context(), Request{Image: s.Host() + "/lib/app", AllTags: true, Policy: bases.PullAlways})
	if err == nil || !strings.Contains(err.Error(), "lib/app:gone") || !slices.Equal(got, want[:2]) {
		t.Errorf("%v, %v", got, err)
	}
	s.tags("lib/empty")
	if _, err := s.pull(t.Context(), Request{Image: s.Host() + "/lib/empty", AllTags: true}); err == nil ||
		err.Error() != s.Host()+"/lib/empty has no tags" {
		t.Errorf("no tags: %v", err)
	}
	if _, err := s.pull(t.Context(), Request{Image: s.Host() + "/lib/none", AllTags: true}); err == nil ||
		!strings.Contains(err.Error(), s.Host()+"/lib/none") {
		t.Errorf("no repository: %v", err)
	}
	why := errors.New("the user has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	s.Refuse = func(_ http.ResponseWriter, _ *http.Request) bool { cancel(why); return false }
	if _, err := s.pull(ctx, Request{Image: s.Host() + "/lib/app", AllTags: true}); !errors.Is(err, why) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestLookingPullsNothing(t *testing.T) {
	s := open(t)
	d, id := s.image(t, "lib/app", "linux/amd64", "x")
	s.tag("lib/app", "1", d)
	text, err := Look(t.Context(), s.Session.Session, s.Host()+"/lib/app:1")
	if err != nil || !bytes.Equal(text, s.Content("lib/app/manifests/1")) {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := s.Store.Images.Find(t.Context(), id); !errors.Is(err, images.ErrNoImage) {
		t.Errorf("the store: %v", err)
	}
	if _, err := Look(t.Context(), s.Session.Session, s.Host()+"/lib/none:1"); err == nil {
		t.Error("what isn't there is seen")
	}
}
