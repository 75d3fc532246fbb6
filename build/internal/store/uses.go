package store

import (
	"context"
	"fmt"

	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

// UseLayer gives a layer if the store has it on top of this parent, and protects it from removal during the build.
func (s *Store) UseLayer(ctx context.Context, id, parent string) (l Layer, ok bool) {
	err := s.parts.Uses.WhileUsing(ctx, func() (err error) {
		switch l, err = s.Layer(id); {
		case err != nil:
			return err
		case l.Parent != parent || s.parts.Uses.Goes(id):
			return ErrNoLayer
		}
		return s.parts.Uses.Note(uses.Thing{Kind: uses.Layers, Name: id}, nil)
	})
	return l, err == nil
}

// Take gives a layer as UseLayer does, after it has waited for a removal of the layer. If the store lacks the layer it
// calls absent, unless that is nil, with the lock of uses: a removal is decided on either before, and waited for, or
// later, and then it sees what absent has noted.
func (s *Store) Take(ctx context.Context, id, parent string, absent func() error) (l Layer, ok bool, err error) {
	for going := true; going && err == nil; {
		if err := s.parts.Uses.AwaitRemoval(ctx, id); err != nil {
			return Layer{}, false, err
		}
		err = s.parts.Uses.WhileUsing(ctx, func() error {
			if going = s.parts.Uses.Goes(id); going {
				return nil
			}
			have, err := s.Layer(id)
			ok = err == nil && have.Parent == parent
			switch {
			case !ok && absent == nil:
				return nil
			case !ok:
				return absent()
			}
			l = have
			return s.parts.Uses.Note(uses.Thing{Kind: uses.Layers, Name: id}, nil)
		})
	}
	return l, ok, err
}

// UseChain gives a chain of layers as Chain does, and protects them from removal during the build.
func (s *Store) UseChain(ctx context.Context, top string) (chain []Layer, err error) {
	err = s.parts.Uses.WhileUsing(ctx, func() error {
		chain, err = s.Chain(top)
		if err != nil {
			return err
		}
		for _, l := range chain {
			if s.parts.Uses.Goes(l.ID) {
				return fmt.Errorf("layer %s: %w", l.ID, ErrNoLayer)
			}
			if err := s.parts.Uses.Note(uses.Thing{Kind: uses.Layers, Name: l.ID}, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return chain, err
}
