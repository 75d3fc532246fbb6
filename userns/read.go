package userns

import (
	"fmt"
	"os"
	"path/filepath"
)

// ReadRanges reads one of the maps of the user namespace that a process is in as the kernel lists it; see
// [ParseRanges]. proc is the process's directory in /proc, kind is KindUID or KindGID.
func ReadRanges(proc, kind string) ([]Range, error) {
	text, err := os.ReadFile(filepath.Join(proc, kind+"_map"))
	if err != nil {
		return nil, err
	}
	return ParseRanges(string(text))
}

// ReadMap reads one of the maps as [ReadRanges] does and checks that it is a valid map; if not, the error matches
// [ErrBadMap].
func ReadMap(proc, kind string) (Map, error) {
	ranges, err := ReadRanges(proc, kind)
	if err != nil {
		return nil, fmt.Errorf("read ID map: %w", err)
	}
	m, err := NewMap(ranges...)
	if err != nil {
		return nil, fmt.Errorf("read ID map: %w", err)
	}
	return m, nil
}

// ReadMapping reads both maps as [ReadMap] does.
func ReadMapping(proc string) (m Mapping, err error) {
	if m.UIDs, err = ReadMap(proc, KindUID); err != nil {
		return m, err
	}
	m.GIDs, err = ReadMap(proc, KindGID)
	return m, err
}

// CurrentMapping is the mapping of the user namespace that this process is in.
func CurrentMapping() (Mapping, error) { return ReadMapping("/proc/self") }
