package layer

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Entry types of tar-split (tar/storage/entry.go).
const (
	splitFile    = "1"
	splitSegment = "2"
)

// splitWriter writes the tar-split JSON that tar/storage.NewJSONPacker writes for the entries which
// asm.NewInputTarStream makes of the same stream: the bytes between the data of two files as one segment, then the next
// file with the checksum of its data.
type splitWriter struct {
	w       *bufio.Writer
	pending []byte // bytes of the next segment, not written yet
	line    []byte // scratch memory for one line of JSON
	pos     int    // number of the next tar-split entry, counted from 0
}

// frame adds bytes to the next segment.
func (s *splitWriter) frame(b []byte) { s.pending = append(s.pending, b...) }

// segment writes the pending bytes as one segment.
func (s *splitWriter) segment() error {
	s.line = append(s.line[:0], `{"type":`+splitSegment+`,"payload":"`...)
	s.line = base64.StdEncoding.AppendEncode(s.line, s.pending)
	s.line = append(s.line, '"')
	s.pending = s.pending[:0]
	return s.flush()
}

// file writes the tar-split entry of a file of size bytes; an empty file has no checksum.
func (s *splitWriter) file(name []byte, size int64, crc uint64) error {
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

func (s *splitWriter) flush() error {
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
