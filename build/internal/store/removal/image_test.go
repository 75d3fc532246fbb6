package removal_test

import (
	"errors"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestAnImageThatGetsANameMeanwhileStays(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	layers := storetest.Stack(t, s, "", "a")
	id := image(t, s, layers, "localhost/a:1")
	if err := s.Images.Tag(t.Context(), id, []string{"localhost/b:1"}); err != nil {
		t.Fatal(err)
	}
	unlock, err := s.Store.Parts().Uses.LockRemoval(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unlock() }()
	_, err = s.Removal.RemoveImage(t.Context(), id, []string{"localhost/a:1"})
	if !errors.Is(err, removal.ErrNamed) || !has(s, layers[0]) {
		t.Errorf("of two names one was known: %v, the layer is there: %v", err, has(s, layers[0]))
	}
	gone, err := s.Removal.RemoveImage(t.Context(), id, []string{"localhost/a:1", "localhost/b:1"})
	if err != nil || len(gone) != 1 || has(s, layers[0]) {
		t.Errorf("both names were known: %v, gone are %v", err, gone)
	}
}
