package shift

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/store"

	"github.com/cooperbuild/cooper/userns"
)

// Owners gives the owners and groups (container IDs) of a layer's files. It reads them from the layer's record, or
// from its tar if the record hasn't got them.
func (r *Room) Owners(ctx context.Context, id string) (userns.IDs, error) {
	l, err := r.store.Layer(id)
	if err != nil {
		return userns.IDs{}, err
	}
	if l.Owners != nil {
		return *l.Owners, nil
	}
	var ids userns.IDs
	seenUIDs, seenGIDs := map[uint32]bool{}, map[uint32]bool{}
	err = r.eachHeader(ctx, l, func(h *tar.Header) bool {
		if uid := uint32(h.Uid); !seenUIDs[uid] {
			seenUIDs[uid], ids.UIDs = true, append(ids.UIDs, uid)
		}
		if gid := uint32(h.Gid); !seenGIDs[gid] {
			seenGIDs[gid], ids.GIDs = true, append(ids.GIDs, gid)
		}
		return true
	})
	return ids, err
}

// FileOf finds a file of a layer whose owner or group is one of the container IDs; "" if there is none.
func (r *Room) FileOf(ctx context.Context, id string, ids userns.IDs) (path string, err error) {
	l, err := r.store.Layer(id)
	if err != nil {
		return "", err
	}
	err = r.eachHeader(ctx, l, func(h *tar.Header) bool {
		if slices.Contains(ids.UIDs, uint32(h.Uid)) || slices.Contains(ids.GIDs, uint32(h.Gid)) {
			path = "/" + strings.Trim(h.Name, "/")
		}
		return path == ""
	})
	return path, err
}

// eachHeader calls f for the entries of a layer until it returns false.
func (r *Room) eachHeader(ctx context.Context, l store.Layer, f func(*tar.Header) bool) (err error) {
	in, err := r.store.LayerTar(l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	for entries := tar.NewReader(in); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer %s: %w", l.ID, err)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if !f(h) {
			return nil
		}
	}
}
