package sshagent

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol has no other digest for some peers
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// ErrPassphrase says that a key is encrypted.
var ErrPassphrase = errors.New("the key has a passphrase: add it to an agent with ssh-add and give the agent instead")

// Flags of a sign request.
const (
	flagSHA256 = 2
	flagSHA512 = 4
)

// key is a private key, and its public half as SSH writes it.
type key struct {
	signer crypto.Signer
	public []byte
	name   string // comment
}

// parseKey reads the formats that ssh-keygen and openssl write: OpenSSH's own, PKCS #1, PKCS #8 and SEC 1, in PEM.
func parseKey(text []byte) (*key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("neither a socket nor a private key in PEM form")
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["Proc-Type"] == "4,ENCRYPTED" {
		return nil, ErrPassphrase
	}
	var private any
	var name string
	var err error
	switch block.Type {
	case "OPENSSH PRIVATE KEY":
		private, name, err = parseOpenSSH(block.Bytes)
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block of type %q is no private key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	return newKey(private, name)
}

func newKey(private any, name string) (*key, error) {
	switch k := private.(type) {
	case ed25519.PrivateKey:
		public, ok := k.Public().(ed25519.PublicKey)
		if !ok {
			return nil, errMalformed
		}
		return &key{k, appendString(appendString(nil, "ssh-ed25519"), public), name}, nil
	case *rsa.PrivateKey:
		public := appendString(nil, "ssh-rsa")
		public = appendString(public, mpint(big.NewInt(int64(k.E))))
		return &key{k, appendString(public, mpint(k.N)), name}, nil
	case *ecdsa.PrivateKey:
		curve, ok := curveName(k.Curve)
		if !ok {
			return nil, fmt.Errorf("the curve %s is not one of SSH", k.Params().Name)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		public := appendString(nil, "ecdsa-sha2-"+curve)
		return &key{k, appendString(appendString(public, curve), point), name}, nil
	}
	return nil, fmt.Errorf("a key of type %T is not supported: use ed25519, rsa or ecdsa", private)
}

func curveName(c elliptic.Curve) (string, bool) {
	switch c {
	case elliptic.P256():
		return "nistp256", true
	case elliptic.P384():
		return "nistp384", true
	case elliptic.P521():
		return "nistp521", true
	}
	return "", false
}

// mpint is a positive number as SSH writes it: big-endian, with a zero byte before a high bit.
func mpint(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) > 0 && b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return b
}

// digest is what is signed of the data.
func digest(hash crypto.Hash, data []byte) []byte {
	switch hash {
	case crypto.SHA1: // what a peer gets that asks for nothing better; the protocol has no other name for it
		sum := sha1.Sum(data) //nolint:gosec // as the import says
		return sum[:]
	case crypto.SHA256:
		sum := sha256.Sum256(data)
		return sum[:]
	case crypto.SHA384:
		sum := sha512.Sum384(data)
		return sum[:]
	case crypto.SHA512:
		sum := sha512.Sum512(data)
		return sum[:]
	}
	return data // ed25519 has its own
}

// list answers a request for the keys.
func (a *Agent) list() []byte {
	answer := binary.BigEndian.AppendUint32([]byte{identitiesAnswer}, uint32(len(a.keys)))
	for _, k := range a.keys {
		answer = appendString(appendString(answer, k.public), k.name)
	}
	return answer
}

// sign answers a request to sign: key, data, flags.
func (a *Agent) sign(request []byte) ([]byte, error) {
	f := fields{rest: request}
	public, data, flags := f.text(), f.text(), f.number()
	if f.broken {
		return nil, errMalformed
	}
	for _, k := range a.keys {
		if bytes.Equal(k.public, public) {
			signature, err := k.sign(data, flags)
			return appendString([]byte{signResponse}, signature), err
		}
	}
	return nil, errors.New("there is no such key")
}

func (k *key) sign(data []byte, flags uint32) ([]byte, error) {
	public := fields{rest: k.public}
	format, hash := string(public.text()), crypto.Hash(0)
	switch private := k.signer.(type) {
	case *rsa.PrivateKey:
		format, hash = "ssh-rsa", crypto.SHA1
		switch {
		case flags&flagSHA512 != 0:
			format, hash = "rsa-sha2-512", crypto.SHA512
		case flags&flagSHA256 != 0:
			format, hash = "rsa-sha2-256", crypto.SHA256
		}
	case *ecdsa.PrivateKey:
		switch bits := private.Params().BitSize; {
		case bits <= 256:
			hash = crypto.SHA256
		case bits <= 384:
			hash = crypto.SHA384
		default:
			hash = crypto.SHA512
		}
	}
	signature, err := k.signer.Sign(rand.Reader, digest(hash, data), hash)
	if err != nil {
		return nil, err
	}
	if _, ok := k.signer.(*ecdsa.PrivateKey); ok {
		var both struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &both); err != nil {
			return nil, fmt.Errorf("read signature: %w", err)
		}
		signature = appendString(appendString(nil, mpint(both.R)), mpint(both.S))
	}
	return appendString(appendString(nil, format), signature), nil
}
