package pull

import (
	"errors"
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
