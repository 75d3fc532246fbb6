package buildflags

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Cache are the flags about caches that other machines fill, as they are written.
type Cache struct {
	from, to []string
	ttl, key string
}

// Register adds the flags.
func (c *Cache) Register(f *pflag.FlagSet) {
	f.StringArrayVar(&c.from, "cache-from", nil,
		"look steps up there, too: type=registry,ref=NAME, type=local,src=DIR, type=http,url=URL, type=s3,bucket=NAME "+
			"or type=gha, or NAME; may be repeated")
	f.StringArrayVar(&c.to, "cache-to", nil,
		"add what the steps have made: type=registry,ref=NAME[,mode=min|max][,mounts=ID|all], type=local,dest=DIR "+
			"or one of the other types, or NAME; may be repeated")
	f.StringVar(&c.key, "cache-key", "",
		"file with an Ed25519 key in PEM: caches are signed with it, and only what it has signed is taken")
	f.StringVar(&c.ttl, "cache-ttl", "",
		"how old a step's result may be that is taken from a cache, such as 24h; 0: --no-cache")
}

// Apply reads the flags into a request. notes are about places that only other builders have: a job that names one runs
// without it.
func (c *Cache) Apply(req *build.Request) (notes []string, err error) {
	read := func(texts []string, parse func(string) ([]sharedcache.Spec, error), into *[]sharedcache.Spec) error {
		for _, text := range texts {
			specs, err := parse(text)
			if other := new(sharedcache.OtherTypeError); errors.As(err, &other) {
				notes = append(notes, err.Error())
			} else if err != nil {
				return command.Usage(err)
			}
			*into = append(*into, specs...)
		}
		return nil
	}
	if err := read(c.from, sharedcache.From, &req.CacheFrom); err != nil {
		return nil, err
	}
	if err := read(c.to, sharedcache.To, &req.CacheTo); err != nil {
		return nil, err
	}
	if c.key != "" {
		if req.CacheKey, err = sharedcache.ReadKey(c.key); err != nil {
			return nil, command.Usage(err)
		}
	}
	if c.ttl == "" {
		return notes, nil
	}
	ttl, err := sharedcache.TTL(c.ttl)
	if err != nil {
		return nil, command.Usage(err)
	}
	req.CacheTTL, req.NoCache = ttl, req.NoCache || ttl == 0
	return notes, nil
}
