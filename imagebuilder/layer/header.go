package layer

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// Type flags of tar headers (POSIX.1-2017, pax, "ustar Header Block").
const (
	typeReg     = '0'
	typeLink    = '1'
	typeSymlink = '2'
	typeChar    = '3'
	typeBlock   = '4'
	typeDir     = '5'
	typeFifo    = '6'
	typePAX     = 'x'
)

const (
	blockSize = 512
	// maxPAX is the size in bytes of the largest extended header that Go's archive/tar accepts, and so every container
	// tool.
	maxPAX     = 1 << 20
	nameSize   = 100
	prefixSize = 155
	maxOctal7  = 1<<21 - 1 // largest ID: its field has seven octal digits
	maxOctal11 = 1<<33 - 1 // largest size in bytes and latest time in seconds: their fields have eleven octal digits
	xattrKey   = "SCHILY.xattr."
)

// entry is one member of a layer, as its header describes it.
type entry struct {
	name         []byte // as in the stream: relative, directories with a trailing slash
	link         string // target of a symbolic or hard link
	xattrs       []tree.Xattr
	size         int64
	mtime        int64 // seconds since 1970
	mode         uint32
	uid, gid     uint32
	major, minor uint32
	typ          byte
	file         *largeFile // nil: not a large file, or its digests aren't shared
}

// headerWriter encodes entries. It keeps its buffers between entries; the zero value is ready for use.
type headerWriter struct{ out, records []byte }

// encode returns the header blocks that precede the entry's data, valid until the next call. They equal those that
// archive/tar writes for the same header: a test compares them.
func (w *headerWriter) encode(e *entry) ([]byte, error) {
	w.out = w.out[:0]
	prefix, suffix, split := splitName(e.name)
	longName := len(e.name) > nameSize || !isASCII(e.name)
	longLink := len(e.link) > nameSize || !isASCII(e.link)
	if (longName && !split) || longLink || len(e.xattrs) > 0 || e.uid > maxOctal7 || e.gid > maxOctal7 ||
		e.size > maxOctal11 || e.mtime < 0 || e.mtime > maxOctal11 {
		if err := w.pax(e, longName, longLink); err != nil {
			return nil, err
		}
		w.block(e, dropNonASCII(e.name), nil)
		return w.out, nil
	}
	if !split {
		suffix = e.name
	}
	w.block(e, suffix, prefix)
	return w.out, nil
}

// pax appends an extended header with the values that don't fit in the plain header, if there are any. Its keys are in
// byte order. longName and longLink tell that the name and the link target don't fit.
func (w *headerWriter) pax(e *entry, longName, longLink bool) error {
	r := w.records[:0]
	for _, x := range e.xattrs {
		if strings.Contains(x.Name, "=") {
			return ErrXattrName
		}
		r = appendRecord(r, xattrKey, x.Name, x.Value)
	}

	if e.gid > maxOctal7 {
		r = appendRecord(r, "gid", "", strconv.FormatUint(uint64(e.gid), 10))
	}
	if longLink {
		r = appendRecord(r, "linkpath", "", e.link)
	}
	if e.mtime < 0 || e.mtime > maxOctal11 {
		r = appendRecord(r, "mtime", "", strconv.FormatInt(e.mtime, 10))
	}

	if longName {
		r = appendRecord(r, "path", "", string(e.name))
	}
	if e.size > maxOctal11 {
		r = appendRecord(r, "size", "", strconv.FormatInt(e.size, 10))
	}
	if e.uid > maxOctal7 {
		r = appendRecord(r, "uid", "", strconv.FormatUint(uint64(e.uid), 10))
	}

	w.records = r
	if len(r) > maxPAX {
		return ErrHeaderTooLarge
	}

	w.block(&entry{typ: typePAX, size: int64(len(r))}, paxName(e.name), nil)
	w.out = append(w.out, r...)
	w.out = append(w.out, make([]byte, padding(int64(len(r))))...)
	return nil
}

// block appends one header block.
func (w *headerWriter) block(e *entry, name, prefix []byte) {
	n := len(w.out)
	w.out = append(w.out, make([]byte, blockSize)...)
	b := w.out[n : n+blockSize]
	putName(b[0:100], name)
	putOctal(b[100:108], uint64(e.mode))
	putOctal(b[108:116], uint64(e.uid))
	putOctal(b[116:124], uint64(e.gid))
	putOctal(b[124:136], uint64(e.size))
	putOctal(b[136:148], uint64(e.mtime))
	b[156] = e.typ
	if e.link != "" {
		putName(b[157:257], dropNonASCII([]byte(e.link)))
	}
	copy(b[257:265], "ustar\x0000")
	// Extended headers have no device numbers; in all others archive/tar writes zeros.
	if e.typ != typePAX {
		putOctal(b[329:337], uint64(e.major))
		putOctal(b[337:345], uint64(e.minor))
	}
	copy(b[345:500], prefix)

	copy(b[148:156], "        ") // the checksum is of the header with spaces in the checksum's field
	var sum uint64
	for _, c := range b {
		sum += uint64(c)
	}
	putOctal(b[148:155], sum)
	b[155] = ' '
}

// putName stores s in b, cut to the length of b. A slash that the cut leaves at the end is dropped: some readers take a
// regular file with such a name for a directory although its PAX path says otherwise.
func putName(b, s []byte) {
	copy(b, s)
	if len(s) > len(b) && b[len(b)-1] == '/' {
		b[len(bytes.TrimRight(s[:len(b)-1], "/"))] = 0
	}
}

// putOctal stores x with leading zeros and a NUL at the end. It stores 0 for a value that doesn't fit, which is in a
// PAX record then.
func putOctal(b []byte, x uint64) {
	digits := len(b) - 1
	if x>>(3*digits) != 0 {
		x = 0
	}
	for i := digits - 1; i >= 0; i-- {
		b[i] = '0' + byte(x&7)
		x >>= 3
	}
	b[digits] = 0
}

// appendRecord appends the PAX record "LENGTH KEY=VALUE\n", whose length counts its own digits.
func appendRecord(dst []byte, keyPrefix, key, value string) []byte {
	rest := len(keyPrefix) + len(key) + len(value) + len(" =\n")
	n := rest + len(strconv.Itoa(rest))
	n = rest + len(strconv.Itoa(n))
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(dst, ' ')
	dst = append(dst, keyPrefix...)
	dst = append(dst, key...)
	dst = append(dst, '=')
	dst = append(dst, value...)
	return append(dst, '\n')
}

// splitName divides a name between the prefix and name fields of USTAR. ok is false if the name fits in the name field
// alone, or has no slash at which both parts fit.
func splitName(name []byte) (prefix, suffix []byte, ok bool) {
	n := len(name)
	if n <= nameSize || !isASCII(name) {
		return nil, nil, false
	}
	if n > prefixSize+1 {
		n = prefixSize + 1
	} else if name[n-1] == '/' {
		n--
	}
	i := bytes.LastIndexByte(name[:n], '/')
	rest := len(name) - i - 1
	if i <= 0 || rest == 0 || rest > nameSize || i > prefixSize {
		return nil, nil, false
	}
	return name[:i], name[i+1:], true
}

// paxName is the name of the extended header of the entry name; readers that don't know PAX make a file of that name.
func paxName(name []byte) []byte {
	dir, base := name[:0], name
	if i := bytes.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i+1], name[i+1:]
	}
	if string(dir) == "./" {
		dir = nil
	}
	full := append(append([]byte(nil), dir...), "PaxHeaders.0/"...)
	full = dropNonASCII(append(full, base...))
	return bytes.TrimRight(full[:min(len(full), nameSize)], "/")
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func dropNonASCII(s []byte) []byte {
	if isASCII(s) {
		return s
	}
	var out []byte
	for _, c := range s {
		if c < 0x80 {
			out = append(out, c)
		}
	}
	return out
}

// padding is the number of zeros from a size to the end of its last block.
func padding(size int64) int64 { return -size & (blockSize - 1) }
