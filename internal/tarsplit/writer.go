package tarsplit

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"strconv"
	"unicode/utf8"
)

// Entry types of tar-split (tar/storage/entry.go).
const (
	splitFile    = "1"
	splitSegment = "2"
)

// Writer writes the tar-split JSON that tar/storage.NewJSONPacker writes for the entries which
// asm.NewInputTarStream makes of the same stream: the bytes between the data of two files as one segment, then the next
// file with the checksum of its data.
type Writer struct {
	w       *bufio.Writer
	pending []byte // bytes of the next segment, not written yet
	line    []byte // scratch memory for one line of JSON
	pos     int    // number of the next tar-split entry, counted from 0
}

// bufferSize is how many bytes are written at a time.
const bufferSize = 64 << 10

// NewWriter makes a Writer. The caller calls Close after the last entry.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, bufferSize)} }

// Frame adds bytes to the next segment.
func (s *Writer) Frame(b []byte) { s.pending = append(s.pending, b...) }

// Segment writes the pending bytes as one segment.
func (s *Writer) Segment() error {
	s.line = append(s.line[:0], `{"type":`+splitSegment+`,"payload":"`...)
	s.line = base64.StdEncoding.AppendEncode(s.line, s.pending)
	s.line = append(s.line, '"')
	s.pending = s.pending[:0]
	return s.flush()
}

// File writes the entry of a file of size bytes whose data has the checksum crc; an empty file has none.
func (s *Writer) File(name []byte, size int64, crc uint64) error {
	s.line = append(s.line[:0], `{"type":`+splitFile...)
	if utf8.Valid(name) {
		s.line = append(s.line, `,"name":`...)
		s.line = appendJSONString(s.line, name)
	} else {
		s.line = append(s.line, `,"name_raw":"`...)
		s.line = base64.StdEncoding.AppendEncode(s.line, name)
		s.line = append(s.line, '"')
	}
	if size == 0 {
		s.line = append(s.line, `,"payload":null`...)
		return s.flush()
	}
	s.line = append(s.line, `,"size":`...)
	s.line = strconv.AppendInt(s.line, size, 10)
	s.line = append(s.line, `,"payload":"`...)
	s.line = base64.StdEncoding.AppendEncode(s.line, binary.BigEndian.AppendUint64(nil, crc))
	s.line = append(s.line, '"')
	return s.flush()
}

// Close writes what is left in the buffer. It does not close what is written to.
func (s *Writer) Close() error { return s.w.Flush() }

func (s *Writer) flush() error {
	s.line = append(s.line, `,"position":`...)
	s.line = strconv.AppendInt(s.line, int64(s.pos), 10)
	s.line = append(s.line, '}', '\n')
	s.pos++
	_, err := s.w.Write(s.line)
	return err
}

// appendJSONString appends valid UTF-8 the way encoding/json writes it.
func appendJSONString(dst, s []byte) []byte {
	for _, c := range s {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(string(s)) // a string always has an encoding
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
