package sshagent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxMessage is the longest message in bytes, as in OpenSSH.
const maxMessage = 256 << 10

// Message numbers.
const (
	failure           = 5
	requestIdentities = 11
	identitiesAnswer  = 12
	signRequest       = 13
	signResponse      = 14
)

var (
	errTooLong   = errors.New("the message is too long or empty")
	errMalformed = errors.New("the message is malformed")
)

// readMessage reads one message without its length. Memory is taken as bytes arrive.
func readMessage(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > maxMessage {
		return nil, errTooLong
	}
	text, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(text) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return text, nil
}

func writeMessage(w io.Writer, text []byte) error {
	_, err := w.Write(appendString(nil, text))
	return err
}

func appendString[T ~[]byte | ~string](b []byte, text T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text...)
}

// fields reads the strings and numbers of a message; after the first that isn't there all are empty and ok is false.
type fields struct {
	rest   []byte
	broken bool
}

func (f *fields) number() uint32 {
	if len(f.rest) < 4 {
		f.rest, f.broken = nil, true
		return 0
	}
	n := binary.BigEndian.Uint32(f.rest)
	f.rest = f.rest[4:]
	return n
}

func (f *fields) text() []byte {
	n := f.number()
	if uint64(n) > uint64(len(f.rest)) {
		f.rest, f.broken = nil, true
		return nil
	}
	text := f.rest[:n]
	f.rest = f.rest[n:]
	return text
}
