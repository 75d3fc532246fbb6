package accounts

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// The limits within which [HighestID] reads a file: whatever an image has there, a build goes on.
const (
	maxEtcBytes = 1 << 20
	maxEtcLines = 10000
)

// HighestID gives the highest user or group ID in /etc/passwd and /etc/group of the directory root; 0 if there is none.
// IDs above limit are ignored, and so is 65534, the ID of nobody, who owns no files. Of each file, no more than the
// first MiB and the first 10,000 lines count; a malformed line is passed over, and a file that can't be opened counts
// as empty: the only effect is that fewer IDs are mapped.
func HighestID(root *os.File, limit uint32) (uint32, error) {
	var files [2]io.Reader
	for i, name := range []string{"etc/passwd", "etc/group"} {
		file, err := open(root, name)
		if err != nil || file == nil {
			continue
		}
		defer file.Close()
		files[i] = file
	}
	return highestID(files[0], files[1], limit)
}

// highestID reads the files, of which either may be nil.
func highestID(passwd, group io.Reader, limit uint32) (uint32, error) {
	var highest uint32
	for _, file := range []struct {
		name   string
		in     io.Reader
		fields []int // indexes of the fields that hold IDs
	}{{"passwd", passwd, []int{2, 3}}, {"group", group, []int{2}}} {
		if file.in == nil {
			continue
		}
		lines := bufio.NewScanner(io.LimitReader(file.in, maxEtcBytes))
		lines.Buffer(nil, maxEtcBytes+1) // no line is longer than the file
		for n := 0; n < maxEtcLines && lines.Scan(); n++ {
			fields := strings.SplitN(lines.Text(), ":", 5)
			for _, i := range file.fields {
				if i >= len(fields) {
					continue
				}
				id, err := strconv.ParseUint(fields[i], 10, 32)
				if err == nil && id != 65534 && id <= uint64(limit) {
					highest = max(highest, uint32(id))
				}
			}
		}

		if err := lines.Err(); err != nil {
			return 0, fmt.Errorf("read %s of the image: %w", file.name, err)
		}
	}

	return highest, nil
}
