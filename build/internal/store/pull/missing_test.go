package pull

import (
	"archive/tar"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store/unpack"
	"github.com/cooperbuild/cooper/userns"
)

func TestIDsBeyondTheRangesAreNamed(t *testing.T) {
	t.Parallel()
	found := &unpack.Archive{UIDs: map[uint32]bool{1: true, 3: true, 7: true}, GIDs: map[uint32]bool{2: true, 8: true}}
	c := &layerCopy{opts: CopyOptions{Name: "app", Mapping: &userns.Mapping{
		UIDs: userns.Map{{Container: 0, Host: 100, Length: 4}}, GIDs: userns.Map{{Container: 0, Host: 100, Length: 9}},
	}}}
	if !unmapped(c.opts.Mapping, found) {
		t.Error("7 is none of the user's IDs")
	}
	missing := new(MissingIDs)
	if !errors.As(c.missingIDs([]*pendingLayer{{}, {found: found}}), &missing) || missing.Image != "app" ||
		!slices.Equal(missing.UIDs, []uint32{7}) || len(missing.GIDs) != 0 {
		t.Errorf("missing: %+v", missing)
	}
	c.opts.Mapping = nil // root has all
	if unmapped(c.opts.Mapping, found) {
		t.Error("root lacks IDs")
	}
	text := (&MissingIDs{UIDs: []uint32{7}}).Error()
	if !strings.Contains(text, "the image has files of") || !strings.Contains(text, "7") {
		t.Errorf("said: %s", text)
	}
}

func TestAnOddLayerIsMadeOfAnotherArchive(t *testing.T) {
	t.Parallel()
	tree := newOddTree()
	for _, h := range []tar.Header{
		{Name: "a", Typeflag: tar.TypeReg}, {Name: "d/", Typeflag: tar.TypeDir}, {Name: "d/x", Typeflag: tar.TypeReg},
		{Name: ".wh.d", Typeflag: tar.TypeReg}, {Name: "a", Typeflag: tar.TypeReg},
		{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}, {Name: "c", Typeflag: tar.TypeLink, Linkname: "below"},
	} {
		if err := tree.add(&h); err != nil {
			t.Fatal(err)
		}
	}
	members, _ := tree.result()
	got := map[int][]string{}
	for n, m := range members {
		got[n] = append(slices.Clone(m.names), m.below)
	}
	// The whiteout hides what came before it, and the second file is the one that counts, with its link.
	for n, names := range map[int]string{4: "/a", 6: "/c"} {
		if len(got[n]) == 0 || got[n][0] != names {
			t.Errorf("member %d becomes %v of %v", n, got[n], slices.Sorted(maps.Keys(got)))
		}
	}
	for _, n := range []int{0, 2} {
		if names, ok := got[n]; ok {
			t.Errorf("member %d, which is hidden, becomes %v", n, names)
		}
	}
}
