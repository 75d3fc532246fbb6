package size_test

import (
	"testing"

	"github.com/cooperbuild/cooper/internal/size"
)

func TestSizesAreBytesWithAUnitOfPowersOf1024(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1": 1, "7b": 7, "64m": 64 << 20, "64M": 64 << 20, "64mb": 64 << 20, "2k": 2 << 10, "3G": 3 << 30,
		"4294967296g": 1 << 62,
		// 0: refused
		"": 0, "0": 0, "-1": 0, "m": 0, "b": 0, "1.5m": 0, "64x": 0, "64 m": 0, "64mm": 0, "4294967297g": 0,
		"9223372036854775808": 0,
	} {
		if n, err := size.Parse(text); n != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d, %v, want %d", text, n, err, want)
		}
	}
}
