package tarsplit

import (
	"hash/crc64"
	"math/rand/v2"
	"testing"
)

func TestCRCEqualsStandardLibrary(t *testing.T) {
	table := crc64.MakeTable(crc64.ISO)
	random := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 5*4*lane)
	for i := range p {
		p[i] = byte(random.Uint32())
	}
	sizes := []int{0, 1, 7, 8, 9, 63, 64, 65, lane, 4*lane - 1, 4 * lane, 4*lane + 1, 8*lane + 13, len(p)}
	for range 200 {
		sizes = append(sizes, random.IntN(len(p)))
	}
	for _, n := range sizes {
		start := random.Uint64()
		off := random.IntN(len(p) - n + 1)
		data := p[off : off+n]
		if got, want := CRC(start, data), crc64.Update(start, table, data); got != want {
			t.Errorf("CRC of %d bytes after %#x: %#x, want %#x", n, start, got, want)
		}
	}
}
