package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/cooperbuild/cooper/build/internal/source/filelist"
)

// A Recipe says what a key was made of, for people who want to know why a step ran. It follows the record in its file,
// and nobody reads it who isn't asked.
type Recipe struct {
	// Parts are those of the key, in order. No value of a variable or a file is in them, only digests of these.
	Parts []Part `json:"parts"`
	// Files are the listings of what the step copies or mounts from a context or stage, as package filelist writes them,
	// by a name for people.
	Files map[string]string `json:"files,omitempty"`
}

// A Part is a named part of a key.
type Part struct {
	Name   string   `json:"name"`
	Values []string `json:"values,omitempty"`
}

// recipe is the part for a recipe, in which digests stand for what nobody should read there, and for what is too long.
func (p Part) recipe() Part {
	out := Part{Name: p.Name, Values: make([]string, len(p.Values))}
	for i, v := range p.Values {
		switch {
		case p.Name == "env":
			name, value, _ := strings.Cut(v, "=")
			v = name + "=" + shortSum(value)
		case p.Name == "volume" && i == 0, p.Name == "file" && i == 2:
			v = shortSum(v)
		case len(v) > maxValue:
			v = strings.ToValidUTF8(v[:maxValue], "") + " " + shortSum(v)
		}
		out.Values[i] = v
	}
	return out
}

// maxValue is the length in bytes of the longest value that a recipe has whole.
const maxValue = 2000

// shortSum stands for a value that isn't shown.
func shortSum(value string) string {
	const shown = 6
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:shown])
}

// Recorded has the builder keep the parts that are added from now on, for Recipe.
func (b *KeyBuilder) Recorded() *KeyBuilder {
	b.recipe = new(Recipe)
	return b
}

// Note adds to the recipe what is no part of the key, but says more to people than a part of it.
func (b *KeyBuilder) Note(name string, values ...string) {
	if b.recipe != nil {
		b.recipe.Parts = append(b.recipe.Parts, Part{name, values})
	}
}

// Recipe is what was added since Recorded; files are the listings of what the step takes.
func (b *KeyBuilder) Recipe(files map[string]string) *Recipe {
	b.recipe.Files = files
	return b.recipe
}

// errNoRecipe says that a record has no recipe that can be read.
var errNoRecipe = errors.New("it has no recipe")

const (
	// smallRecipe is the size in bytes of recipes that aren't compressed: the file takes a block of the disk in any case.
	smallRecipe = 2000
	// maxRecipe is how long a recipe may be that is read, in bytes.
	maxRecipe = 64 << 20
	// maxUnpacked is the same for one that another machine has packed.
	maxUnpacked = 1 << 20
)

// encode is what follows a record in its file.
func (r *Recipe) encode() ([]byte, error) {
	raw, err := json.Marshal(r)
	if err != nil || len(raw) <= smallRecipe {
		return raw, err
	}
	// The encoder takes a millisecond to make, which only recipes with many files are worth.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(raw, nil), z.Close()
}

// Pack is the recipe in at most limit bytes. If it is longer, it has fewer and fewer files: those deep in directories
// are left out first.
func (r *Recipe) Pack(limit int) []byte {
	for _, depth := range []int{maxDepth, 8, 4, 2, 1, 0, -1} {
		short := &Recipe{Parts: r.Parts}
		for name, list := range r.Files {
			if depth < maxDepth {
				list = filelist.Shallow(list, depth)
			}
			if short.Files == nil {
				short.Files = map[string]string{}
			}
			if short.Files[name] = list; depth < 0 {
				short.Files = nil
			}
		}
		if text, err := short.encode(); err == nil && len(text) <= limit {
			return text
		}
	}
	return nil
}

// maxDepth is more than the directories on any path.
const maxDepth = 1 << 20

// UnpackRecipe reads what Pack has written; nil: it is nothing, or can't be read.
func UnpackRecipe(text []byte) *Recipe {
	if len(text) == 0 {
		return nil
	}
	r, err := decodeRecipe(text, maxUnpacked)
	if err != nil {
		return nil
	}
	return r
}

// decodeRecipe reads what encode has written, at most so many bytes of it.
func decodeRecipe(raw []byte, limit int64) (*Recipe, error) {
	if !bytes.HasPrefix(raw, []byte("{")) {
		z, err := zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxRecipe), zstd.WithDecoderMaxWindow(maxRecipe))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		if raw, err = io.ReadAll(io.LimitReader(z, limit)); err != nil {
			return nil, err
		}
	}
	r := new(Recipe)
	return r, json.Unmarshal(raw, r)
}

// Recipe reads the recipe of the record under a key.
func (c *Cache) Recipe(k Key) (*Recipe, error) {
	raw, err := os.ReadFile(c.path(steps, k))
	if err != nil {
		return nil, fmt.Errorf("read the recipe: %w", err)
	}
	_, text, found := bytes.Cut(raw, []byte("\n"))
	if !found {
		return nil, errNoRecipe
	}
	r, err := decodeRecipe(text, maxRecipe)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoRecipe, err)
	}
	return r, nil
}
