package sharedcache

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// Key signs what is written to places, and says what is read of them: only what it has signed. The zero value has
// neither.
type Key struct {
	// private is nil if only the public key is known.
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// maxKey is how many bytes the file of a key has at most.
const maxKey = 64 << 10

// ReadKey reads the file of --cache-key: an Ed25519 key in PEM, as openssl genpkey writes it, or its public key.
func ReadKey(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxKey) {
		err = errors.New("it is no file of a key")
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	var k *Key
	if err == nil {
		k, err = parseKey(text)
	}
	if err != nil {
		return nil, fmt.Errorf("--cache-key %s: %w", path, err)
	}
	return k, nil
}

func parseKey(text []byte) (*Key, error) {
	const hint = "\nhint: openssl genpkey -algorithm ed25519 -out cache.key; openssl pkey -in cache.key -pubout -out cache.pub"
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is no key in PEM" + hint)
	}
	if private, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if key, ok := private.(ed25519.PrivateKey); ok {
			public, _ := key.Public().(ed25519.PublicKey)
			return &Key{key, public}, nil
		}
	}
	if public, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
		if key, ok := public.(ed25519.PublicKey); ok {
			return &Key{public: key}, nil
		}
	}
	return nil, errors.New("it is no Ed25519 key" + hint)
}

// Signs tells whether the key is a private one.
func (k *Key) Signs() bool { return k.private != nil }

// Sign signs a text with a private key.
func (k *Key) Sign(text []byte) []byte { return ed25519.Sign(k.private, text) }

// Verify tells whether a signature is that of the text.
func (k *Key) Verify(text, signature []byte) bool { return ed25519.Verify(k.public, text, signature) }
