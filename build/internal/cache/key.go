package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"

	"github.com/opencontainers/go-digest"
)

// Key names a record: 64 hex digits.
type Key string

// format is part of every key. It is changed when the meaning of a record changes.
const format = "cooper/1"

// A KeyBuilder makes a Key from named parts. Different sequences of parts give different keys.
type KeyBuilder struct {
	h hash.Hash
	// recipe gets the parts; nil: nobody wants them.
	recipe *Recipe
}

// NewKey starts a key of a kind, such as "run" or "copy".
func NewKey(kind string) *KeyBuilder {
	b := &KeyBuilder{h: sha256.New()}
	return b.Add(format, kind)
}

// Add puts a part's name and its values into the key.
func (b *KeyBuilder) Add(name string, values ...string) *KeyBuilder {
	if b.recipe != nil {
		b.recipe.Parts = append(b.recipe.Parts, Part{name, values}.recipe())
	}
	b.text(name)
	b.number(uint64(len(values)))
	for _, v := range values {
		b.text(v)
	}
	return b
}

func (b *KeyBuilder) text(s string) {
	b.number(uint64(len(s)))
	b.h.Write([]byte(s))
}

func (b *KeyBuilder) number(n uint64) {
	var buf [8]byte
	binary.LittleEndian.PutUint64(buf[:], n)
	b.h.Write(buf[:])
}

// Key is the key of the parts so far; more can be added afterwards for another.
func (b *KeyBuilder) Key() Key { return Key(hex.EncodeToString(b.h.Sum(nil))) }

// ContentID identifies the content of a root file system, without times; "" is the empty root file system.
type ContentID string

// Above is the content ID of a layer with this content on top of a root file system.
func (c ContentID) Above(content digest.Digest) ContentID {
	return ContentID(NewKey("content").Add("below", string(c)).Add("layer", content.String()).Key())
}

// ImageContentID is the content ID of an image's root file system, by its diffIDs, bottom first.
func ImageContentID(diffIDs []digest.Digest) ContentID {
	if len(diffIDs) == 0 {
		return ""
	}
	b := NewKey("image")
	for _, d := range diffIDs {
		b.Add("layer", d.String())
	}
	return ContentID(b.Key())
}

// Validate gives an error for a text from outside that is no key.
func (k Key) Validate() error {
	if raw, err := hex.DecodeString(string(k)); err != nil || len(raw) != sha256.Size {
		return errors.New("it is no key of 64 hexadecimal digits")
	}
	return nil
}
