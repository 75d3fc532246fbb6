// Package tomlfile reads files of configuration in TOML, which may be anybody's.
package tomlfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/BurntSushi/toml"
)

// MaxBytes is the size of the largest file that is read.
const MaxBytes = 1 << 20

// Decode reads a file into a value. An error that the file can't be opened is the one of package os; others name the
// file, and the line if they know it.
func Decode(name string, into any) (toml.MetaData, error) {
	f, err := os.Open(name)
	if err != nil {
		return toml.MetaData{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	switch {
	case err != nil:
		return toml.MetaData{}, fmt.Errorf("read configuration: %w", err)
	case len(text) > MaxBytes:
		return toml.MetaData{}, fmt.Errorf("%s: is larger than 1 MiB", name)
	}
	meta, err := toml.Decode(string(text), into)
	return meta, Explain(name, err)
}

// Explain says of an error where in a file it is; nil stays nil.
func Explain(name string, err error) error {
	if err == nil {
		return nil
	}
	if at := new(toml.ParseError); errors.As(err, at) {
		return fmt.Errorf("%s:%d: %s", name, at.Position.Line, at.Message)
	}
	if text, ours := strings.CutPrefix(err.Error(), "toml: "); ours {
		return fmt.Errorf("%s: %s", name, text)
	}
	return fmt.Errorf("%s: %w", name, err)
}
