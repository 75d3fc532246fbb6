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

// splitWriter writes tar-split JSON as tar/storage.NewJSONPacker does for the entries that asm.NewInputTarStream makes
// of the same stream: everything between the data of two files as one segment, then the file with the checksum of its
// data.
type splitWriter struct {
	w       *bufio.Writer
	pending []byte // of the next segment
	line    []byte
	pos     int
}

// frame adds bytes to the next segment.
func (s *splitWriter) frame(b []byte) { s.pending = append(s.pending, b...) }

// segment writes what has come since the last file.
func (s *splitWriter) segment() error {
	s.line = append(s.line[:0], `{"type":`+splitSegment+`,"payload":"`...)
	s.line = base64.StdEncoding.AppendEncode(s.line, s.pending)
	s.line = append(s.line, '"')
	s.pending = s.pending[:0]
	return s.flush()
}

// file writes a file of the given size; of an empty one there is no checksum.
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
