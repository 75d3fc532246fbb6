package push

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

// maxPlaces is how many repositories of one registry are recorded for a blob, and tried for a mount.
const maxPlaces = 2

func placeKey(host string, blob digest.Digest) cache.Key {
	return cache.NewKey("place").Add("registry", host).Add("blob", blob.String()).Key()
}

// neighbours are repositories of the same registry that may have a blob.
func (p *Pusher) neighbours(r *repository, blob digest.Digest) []string {
	var all []string
	if rec := p.Cache.Get(placeKey(r.ref.Domain, blob)); rec != nil {
		all = rec.Places
	}
	if p.Origins != nil && len(all) == 0 {
		origins, _ := p.Origins.Origins(blob) // without origins the blob is sent instead of mounted
		for _, o := range origins {
			if o.Domain == r.ref.Domain {
				all = append(all, o.Path)
			}
		}
	}
	all = slices.DeleteFunc(slices.Clone(all), func(path string) bool { return path == r.ref.Path })
	return all[:min(len(all), maxPlaces)]
}

// recordPlace records that a repository has a blob. Errors are ignored: without the record the blob is only sent once
// more.
func (p *Pusher) recordPlace(r *repository, d ocispec.Descriptor) {
	key := placeKey(r.ref.Domain, d.Digest)
	rec := p.Cache.Get(key)
	if rec != nil && slices.Contains(rec.Places, r.ref.Path) {
		return
	}
	places := []string{r.ref.Path}
	if rec != nil {
		places = append(places, rec.Places...)
	}
	_ = p.Cache.Put(key, cache.Record{Created: time.Now().UTC(), Places: places[:min(len(places), maxPlaces+1)],
		Step: "blob " + d.Digest.Encoded()[:12] + " in " + r.ref.Domain})
}
