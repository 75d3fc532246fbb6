package sshagent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
)

const openSSHMagic = "openssh-key-v1\x00"

// parseOpenSSH reads OpenSSH's own format (PROTOCOL.key in its sources) with one key and without encryption.
func parseOpenSSH(data []byte) (private any, name string, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(openSSHMagic))
	if !ok {
		return nil, "", errMalformed
	}
	f := fields{rest: rest}
	cipher, kdf, _, count := string(f.text()), string(f.text()), f.text(), f.number()
	_, secret := f.text(), f.text()
	switch {
	case f.broken:
		return nil, "", errMalformed
	case cipher != "none" || kdf != "none":
		return nil, "", ErrPassphrase
	case count != 1:
		return nil, "", fmt.Errorf("the file has %d keys, not one", count)
	}
	s := fields{rest: secret}
	if check := s.number(); check != s.number() {
		return nil, "", errMalformed
	}
	private, err = parsePrivate(&s)
	name = string(s.text())
	if err == nil && s.broken {
		err = errMalformed
	}
	return private, name, err
}

func parsePrivate(f *fields) (any, error) {
	switch kind := string(f.text()); kind {
	case "ssh-ed25519":
		public, private := f.text(), f.text()
		if len(private) != ed25519.PrivateKeySize || !bytes.Equal(private[32:], public) {
			return nil, errMalformed
		}
		return ed25519.PrivateKey(bytes.Clone(private)), nil
	case "ssh-rsa":
		return parseRSA(f)
	case "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521":
		return parseECDSA(f)
	default:
		return nil, fmt.Errorf("a key of type %q is not supported: use ed25519, rsa or ecdsa", kind)
	}
}

func parseRSA(f *fields) (any, error) {
	number := func() *big.Int { return new(big.Int).SetBytes(f.text()) }
	n, e, d := number(), number(), number()
	_, p, q := number(), number(), number()
	const maxBits = 16384
	if f.broken || !e.IsInt64() || e.Int64() > 1<<31-1 || n.BitLen() > maxBits {
		return nil, errMalformed
	}
	k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: int(e.Int64())}, D: d, Primes: []*big.Int{p, q}}
	if err := k.Validate(); err != nil {
		return nil, err
	}
	k.Precompute()
	return k, nil
}

func parseECDSA(f *fields) (any, error) {
	curve, ok := map[string]elliptic.Curve{
		"nistp256": elliptic.P256(), "nistp384": elliptic.P384(), "nistp521": elliptic.P521(),
	}[string(f.text())]
	if !ok {
		return nil, errors.New("the curve is not one of SSH")
	}
	_ = f.text() // the public key follows from the private one
	scalar := bytes.TrimLeft(f.text(), "\x00")
	size := (curve.Params().BitSize + 7) / 8
	if f.broken || len(scalar) > size {
		return nil, errMalformed
	}
	return ecdsa.ParseRawPrivateKey(curve, append(make([]byte, size-len(scalar)), scalar...))
}
