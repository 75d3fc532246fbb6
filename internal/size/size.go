// Package size reads numbers of bytes as the command lines of the field give them.
package size

import (
	"errors"
	"strconv"
	"strings"
)

// Parse reads a number of bytes, at least 1, with b, k, m or g behind it, powers of 1024, in small or capital letters.
func Parse(text string) (int64, error) {
	number, shift := strings.TrimSuffix(strings.ToLower(text), "b"), 0
	for unit, s := range map[string]int{"k": 10, "m": 20, "g": 30} {
		if n, ok := strings.CutSuffix(number, unit); ok {
			number, shift = n, s
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, errors.New("must be a size, such as 64m")
	}
	return n << shift, nil
}
