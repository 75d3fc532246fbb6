package bases_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/registry"
)

func TestThePlatformsOfAnImageAreThoseOfTheStoreOrTheRegistry(t *testing.T) {
	t.Parallel()
	const list, looks, hastily, find = "list app", "look at app, 3 retries", "look at app, 0 retries",
		"find app for amd64"
	down := errors.New("registry is down")
	for name, test := range map[string]struct {
		ref, has string // what the store's image is for; empty: there is none
		list     bool   // the store has an index of arm64 and s390x
		offered  string // what the registry has
		policy   bases.PullPolicy
		down     error
		want     string
		says     string
		asked    []string
	}{
		"missing": {offered: "linux/amd64 linux/arm64/v8 linux/arm/v7 windows/amd64 unknown/unknown linux/amd64",
			want: "linux/amd64 linux/arm64 linux/arm/v7", asked: []string{list, looks}},
		"an index in the store": {list: true, offered: "linux/amd64", want: "linux/arm64 linux/s390x",
			asked: []string{list}},
		"another in the registry": {list: true, offered: "linux/amd64", policy: bases.PullAlways, want: "linux/amd64",
			asked: []string{list, find, hastily}},
		"an image in the store": {has: "linux/arm64", offered: "linux/amd64", want: "linux/amd64",
			asked: []string{list, find, hastily}},
		"down": {has: "linux/arm64", down: down, want: "linux/arm64",
			asked: []string{list, find, hastily}},
		"down and missing": {down: down, says: "is down", asked: []string{list, looks}},
		"never": {has: "linux/arm64", policy: bases.PullNever, want: "linux/arm64",
			asked: []string{list, find}},
		"never, missing": {policy: bases.PullNever, says: "--pull=never forbids", asked: []string{list}},
		"built here": {ref: "localhost/app", has: "linux/arm64", want: "linux/arm64",
			asked: []string{"list localhost/app", "find localhost/app for amd64"}},
		"a target": {ref: plan.TargetRef + ".", asked: nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.ref == "" {
				test.ref = "app"
			}
			w := &world{has: map[string]images.Found{}, down: test.down}
			if test.has != "" {
				img := image("stored", test.has)
				if strings.HasPrefix(test.ref, "localhost/") {
					img.Name = test.ref
				}
				w.has[test.ref] = img
			}
			for p := range strings.FieldsSeq(test.offered) {
				os, rest, _ := strings.Cut(p, "/")
				arch, variant, _ := strings.Cut(rest, "/")
				w.offered = append(w.offered, ocispec.Platform{OS: os, Architecture: arch, Variant: variant})
			}
			if test.list {
				arm, s390x := platforms.MustParse("linux/arm64"), platforms.MustParse("linux/s390x")
				w.lists = map[string][]ocispec.Descriptor{test.ref: {{Platform: &arm}, {Platform: &s390x},
					{Platform: &arm, MediaType: "text/plain"}, {}}}
			}
			o := w.options(test.policy)
			o.Registry.Retries = registry.Retries{Times: 3}
			all, err := bases.New(o).Platforms(t.Context(), test.ref)
			if (err != nil) != (test.says != "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("got the error %v", err)
			}
			var got []string
			for _, p := range all {
				got = append(got, platforms.FormatAll(p))
			}
			if diff := cmp.Diff(strings.Fields(test.want), got, cmp.Transformer("", func(s []string) string {
				return strings.Join(s, " ")
			})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(test.asked, w.asked); diff != "" {
				t.Errorf("asked (-want +got)\n%s", diff)
			}
		})
	}
}
