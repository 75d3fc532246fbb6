package images

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

const (
	// maxPeeked bounds each file that a Peeker reads, in bytes.
	maxPeeked = 64 << 20
	// shortID is the fewest hex digits by which an image ID may be abbreviated.
	shortID = 12
)

// A Peeker reads images' configs from a store's files. Unlike a [Room] it needs no user namespace, takes no lock and
// writes nothing: what it reads is replaced by renaming, so it is whole, if perhaps a moment old.
type Peeker struct{ roots []string }

// NewPeeker finds the directories of a store. A store that doesn't exist is one without images.
func NewPeeker(o store.Options) (*Peeker, error) {
	roots, err := store.Dirs(o)
	return &Peeker{roots}, err
}

// peekedImage is what images.json says of an image.
type peekedImage struct {
	ID     string        `json:"id"`
	Digest digest.Digest `json:"digest"`
	Names  []string      `json:"names"`
	dir    string        // the directory with the image's items
}

// Find looks for an image by ID, by full name, or by short name: localhost first, then docker.io, then any
// registry. Unlike [Room.Find] it doesn't read registries.conf. The error is ErrNoImage if there is none.
func (p *Peeker) Find(name string) (imagebuilder.Base, error) {
	images, err := p.images()
	if err != nil {
		return imagebuilder.Base{}, err
	}
	for _, matches := range peekedNames(name) {
		for _, i := range images {
			n := slices.IndexFunc(append(i.Names, i.ID), matches)
			if n < 0 {
				continue
			}
			base, err := i.base(append(i.Names, i.ID)[n])
			if err != nil {
				return base, fmt.Errorf("read image %s: %w", name, err)
			}
			return base, nil
		}
	}
	return imagebuilder.Base{}, fmt.Errorf("%s: %w", name, ErrNoImage)
}

// Names are the names that somebody gave to images of the store, sorted.
func (p *Peeker) Names() (names []string, err error) {
	images, err := p.images()
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		names = append(names, slices.DeleteFunc(i.Names, func(n string) bool { return n == keepName(i.ID) })...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// peekedNames are tests for the names that an image may be meant by, likeliest first.
func peekedNames(name string) []func(string) bool {
	id := strings.TrimPrefix(name, "sha256:")
	tests := []func(string) bool{func(have string) bool {
		return have == name || (len(id) >= shortID && !strings.ContainsAny(have, "/:") && strings.HasPrefix(have, id))
	}}
	ref, err := reference.Parse(name)
	if err != nil {
		return tests
	}
	full := ref.WithLatest().String()
	if !conf.ShortName(name) {
		return append(tests, func(have string) bool { return have == full })
	}
	short := "/" + strings.TrimPrefix(strings.TrimPrefix(full, "docker.io/"), "library/")
	return append(tests,
		func(have string) bool { return have == "localhost"+short },
		func(have string) bool { return have == full },
		func(have string) bool { return strings.HasSuffix(have, short) },
	)
}

// images lists the images of all drivers in the store: an image's config is the same whichever driver is in use.
func (p *Peeker) images() ([]peekedImage, error) {
	var all []peekedImage
	for _, root := range p.roots {
		lists, err := filepath.Glob(filepath.Join(root, "*-images", "images.json"))
		if err != nil {
			return nil, fmt.Errorf("read store %s: %w", root, err)
		}
		for _, list := range lists {
			text, err := readPeeked(list)
			if err != nil {
				return nil, fmt.Errorf("read store: %w", err)
			}
			var images []peekedImage
			if err := json.Unmarshal(text, &images); err != nil {
				return nil, fmt.Errorf("read store: %s: %w", list, err)
			}
			for _, i := range images {
				i.dir = filepath.Join(filepath.Dir(list), filepath.Base(i.ID))
				all = append(all, i)
			}
		}
	}
	return all, nil
}

func (i peekedImage) base(name string) (imagebuilder.Base, error) {
	raw, err := readPeeked(filepath.Join(i.dir, storage.ImageDigestBigDataKey))
	if err != nil {
		return imagebuilder.Base{}, err
	}
	d, err := configDigest(raw)
	if err != nil {
		return imagebuilder.Base{}, err
	}
	// A name that isn't of digits, small letters and dots alone is kept in base64 with an equals sign before it.
	config, err := readPeeked(filepath.Join(i.dir, "="+base64.StdEncoding.EncodeToString([]byte(d.String()))))
	if err != nil {
		return imagebuilder.Base{}, err
	}
	if d.Algorithm().FromBytes(config) != d {
		return imagebuilder.Base{}, errors.New("config does not have the digest that the manifest gives it")
	}
	parsed, err := imagebuilder.ParseImage(config)
	return imagebuilder.Base{ID: i.ID, Name: name, Digest: i.Digest, Image: parsed, Config: config}, err
}

func readPeeked(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPeeked+1))
	if err == nil && len(text) > maxPeeked {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxPeeked>>20)
	}
	return text, err
}
