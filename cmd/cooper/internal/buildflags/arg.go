package buildflags

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Args are the flags that give values to the ARGs of a Dockerfile, as they are written.
type Args struct {
	args, files []string
}

// Register adds the flags.
func (a *Args) Register(f *pflag.FlagSet) {
	f.StringArrayVar(&a.args, "build-arg", nil,
		"value for an ARG, NAME=VALUE, or NAME to take it from the environment")
	f.StringArrayVar(&a.files, "build-arg-file", nil,
		"file with a build argument in each line; # begins a comment, and --build-arg wins over it; may be repeated")
}

// Values are the arguments of the files and then those of the command line, the last of each name.
func (a *Args) Values() (map[string]*string, error) {
	values := map[string]*string{}
	for _, path := range a.files {
		if err := readArgFile(path, values); err != nil {
			return nil, err
		}
	}
	for _, text := range a.args {
		if err := addArg(values, text); err != nil {
			return nil, command.Usagef("--build-arg %w", err)
		}
	}
	return values, nil
}

// addArg adds NAME=VALUE. One without a value takes it from the environment, if it is there.
func addArg(values map[string]*string, text string) error {
	name, value, ok := strings.Cut(text, "=")
	if name == "" {
		return fmt.Errorf("%q: must be NAME=VALUE or NAME", text)
	}
	if !ok {
		value, ok = os.LookupEnv(name)
	}
	values[name] = nil
	if ok {
		values[name] = &value
	}
	return nil
}

// maxArgFile bounds a file of build arguments, in bytes.
const maxArgFile = 1 << 20

// readArgFile adds the arguments of a file, one a line. Blank lines and those that begin with # count for nothing.
func readArgFile(path string, values map[string]*string) error {
	f, err := os.Open(path)
	if err != nil {
		return command.Usagef("--build-arg-file: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxArgFile+1))
	switch {
	case err != nil:
		return command.Usagef("--build-arg-file: %w", err)
	case len(text) > maxArgFile:
		return command.Usagef("--build-arg-file %s: it has more than %d bytes", path, maxArgFile)
	case !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0:
		return command.Usagef("--build-arg-file %s: it is not a text file", path)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxArgFile+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := addArg(values, line); err != nil {
			return command.Usagef("--build-arg-file %s, line %d: %w", path, n, err)
		}
	}
	return nil
}
