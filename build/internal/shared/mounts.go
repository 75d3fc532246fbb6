package shared

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/parcel"
	"github.com/cooperbuild/cooper/build/internal/shared/index"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/printable"
)

// busyPatience is how long the content of a cache mount waits for the steps of others that use it.
const busyPatience = time.Minute

// Mount is a cache mount of a store.
type Mount struct {
	// Key is what it is known by on every machine, Local and Number are what it is known by in the store.
	Key, Local cache.Key
	Number, ID string
}

// Mounts are the cache mounts of the places that a room reads, and those that the steps of a build use. It is safe for
// concurrent use.
type Mounts struct {
	room *Room

	mu sync.Mutex
	// met are the mounts that steps use.
	met []Mount
}

// Fill is that of runstep.MountSource.
func (m *Mounts) Fill(ctx context.Context, key cache.Key, id, dir string) bool {
	if m == nil {
		return false
	}
	r := m.room
	var from *source
	var found index.Mount
	r.each(ctx, func(s *source, x *index.Index) (ok bool) {
		found, ok = x.Mounts[key]
		from = s
		return ok
	})
	if found.Blobs == nil {
		return false
	}
	patience := r.patience(bringPatience) + time.Duration(found.Compressed()/leastRate)*time.Second
	inner, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it takes longer than %s", patience))
	defer cancel()
	shown := r.Shown.Begin("fetching the cache mount " + id)
	err := parcel.Unpack(inner, from.opened, found.Parcel,
		parcel.UnpackOptions{Dir: dir, Nested: r.Nested, Spool: r.Spool})
	if err != nil && inner.Err() != nil {
		err = context.Cause(inner)
	}
	shown.End(ctx, err)
	if err != nil && ctx.Err() == nil {
		r.Progress.Emit(progress.Note{Text: fmt.Sprintf("cache %s: the cache mount id=%s begins empty: %v", from.spec.Where(),
			id, err)})
	}
	return err == nil
}

// Used is that of runstep.MountSource.
func (m *Mounts) Used(key, local cache.Key, number, id string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.IndexFunc(m.met, func(one Mount) bool { return one.Key == key }); i < 0 {
		m.met = append(m.met, Mount{key, local, number, id})
	} else if number < m.met[i].Number {
		m.met[i] = Mount{key, local, number, id}
	}
}

// sender brings the content of cache mounts to one place.
type sender struct {
	room *Room
	spec sharedcache.Spec
	from content.Fetcher
	have *index.Index
	to   writer
	o    SaveOptions
}

// save brings the content of the cache mounts that the spec names to a place.
func (m *Mounts) save(ctx context.Context, to merging, o SaveOptions) (all map[cache.Key]index.Mount, err error) {
	mounts := slices.DeleteFunc(slices.Concat(m.used(), o.Mounts), func(one Mount) bool {
		return !to.spec.TakesMount(one.ID)
	})
	if len(mounts) == 0 {
		return nil, nil
	}
	r := m.room
	s := sender{room: r, spec: to.spec, to: to.to, o: o, have: &index.Index{}}
	if from, x, err := r.read(ctx, to.where); err == nil {
		defer from.close()
		s.from, s.have = from, x
	} else if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	} // what can't be read is met once more when the index is written
	all = map[cache.Key]index.Mount{}
	for _, one := range mounts {
		packed, err := s.pack(ctx, one)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			r.Progress.Emit(progress.Note{Text: fmt.Sprintf("the cache mount id=%s is not kept in %s: %v", one.ID,
				to.spec.Where(), err)})
			continue
		}
		err = packed.Send(ctx, to.to.blob)
		if err = errors.Join(err, packed.Close()); err != nil {
			return nil, err
		}
		all[one.Key] = index.Mount{ID: one.ID, Parcel: packed.Parcel, Used: time.Now().UTC().Truncate(time.Second)}
	}
	return all, nil
}

func (m *Mounts) used() []Mount {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.met)
}

// pack reads a cache mount while no step uses it. The caller closes the result.
func (s sender) pack(ctx context.Context, m Mount) (packed *parcel.Packed, err error) {
	dir, lock, err := s.o.OpenMount(ctx, string(m.Local), m.Number, m.ID)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }() // it has no content
	waiting, cancel := context.WithTimeoutCause(ctx, s.room.patience(busyPatience), errors.New("another build uses it"))
	defer cancel()
	if err := flock.Lock(waiting, lock, flock.Exclusive); err != nil {
		if waiting.Err() != nil {
			err = context.Cause(waiting)
		}
		return nil, err
	}
	made, filled, err := uses.ReadMade(dir)
	if err != nil || !filled {
		return nil, errors.Join(err, errors.New("it is gone"))
	}
	o := parcel.Options{Dir: dir, Secrets: s.o.Secrets, Spool: s.room.Spool}
	if made.Mapping != nil {
		o.Owners = func(uid, gid uint32) (uint32, uint32, error) {
			u, err := made.Mapping.UIDs.ToContainer(uid)
			g, gidErr := made.Mapping.GIDs.ToContainer(gid)
			return u, g, errors.Join(err, gidErr)
		}
	}
	if old, ok := s.have.Mounts[m.Key]; ok {
		o.Old, o.From, o.Holds = &old.Parcel, s.from, s.to.holds
	}
	if packed, err = parcel.Pack(ctx, o); err != nil {
		return nil, err
	}
	if left := packed.Left.String(); left != "" {
		s.room.Progress.Emit(progress.Note{Text: printable.Line(fmt.Sprintf("the cache mount id=%s: %s", m.ID, left))})
	}
	return packed, nil
}
