package parcel

import (
	"errors"
	"io"
	"math/bits"
)

// The sizes of chunks in bytes. Where the content decides, the average is a little more than a megabyte.
const (
	minChunk, maxChunk = 256 << 10, 4 << 20
	// cutMask has as many bits set as the logarithm of the average distance between two cuts.
	cutBits = 20
	cutMask = (1<<cutBits - 1) << (64 - cutBits)
)

// cutter cuts files into chunks where the last bytes before the cut say so, whatever comes before them: the rolling sum
// of gear hashing (Xia and others, "FastCDC", USENIX ATC 2016), without its second mask.
type cutter struct {
	gear [256]uint64
	buf  []byte
}

func newCutter() *cutter {
	c := &cutter{buf: make([]byte, maxChunk)}
	// The numbers are those of splitmix64: any will do, but they must stay what they are, or nothing is found again.
	for i, x := 0, uint64(0); i < len(c.gear); i++ {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		c.gear[i] = bits.RotateLeft64(z^z>>31, 1)
	}
	return c
}

// cut gives take the chunks of a file, in order; they are valid until it returns.
func (c *cutter) cut(from io.Reader, take func(chunk []byte) error) error {
	n := 0
	for ended := false; ; {
		for !ended && n < len(c.buf) {
			more, err := from.Read(c.buf[n:])
			n += more
			if ended = errors.Is(err, io.EOF); err != nil && !ended {
				return err
			}
		}
		if n == 0 {
			return nil
		}
		at := c.next(c.buf[:n])
		if err := take(c.buf[:at]); err != nil {
			return err
		}
		n = copy(c.buf, c.buf[at:n])
	}
}

// next is the size of the first chunk of data, which is all that is left of a file, or the most that a chunk may have.
func (c *cutter) next(data []byte) int {
	sum := uint64(0)
	for i := min(minChunk, len(data)); i < len(data); i++ {
		if sum = sum<<1 + c.gear[data[i]]; sum&cutMask == 0 && i >= minChunk+64 {
			return i
		}
	}
	return len(data)
}
