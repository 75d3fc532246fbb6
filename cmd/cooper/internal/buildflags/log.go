package buildflags

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Log say where the progress is shown, as they are written.
type Log struct {
	// File is the file that the progress is shown in; empty: none.
	File  string
	split bool
}

// Register adds the flags.
func (l *Log) Register(f *pflag.FlagSet) {
	f.StringVar(&l.File, "logfile", "", "show the progress in this file instead of on standard error")
	f.BoolVar(&l.split, "logsplit", false, "with --logfile: a file for each platform, FILE_OS_ARCH")
}

// Check refuses flags that contradict each other.
func (l *Log) Check() error {
	if l.split && l.File == "" {
		return command.Usagef("--logsplit is for --logfile=FILE, which it makes a file for each platform of")
	}
	return nil
}

// Open opens the files that show the progress, each by what view makes of it; notes tells whether that shows notes. The
// caller closes the renderer, and then the files.
func (l *Log) Open(notes bool, view func(f *os.File) progress.Renderer) (r progress.Renderer, closeFiles func() error,
	err error) {
	var files []*os.File
	closeFiles = func() error {
		var errs []error
		for _, f := range files {
			errs = append(errs, f.Close())
		}
		return errors.Join(errs...)
	}
	create := func(name string) (progress.Renderer, error) {
		f, err := os.Create(name)
		if err != nil {
			return nil, fmt.Errorf("--logfile: %w", err)
		}
		files = append(files, f)
		return view(f), nil
	}
	if !l.split {
		r, err = create(l.File)
		return r, closeFiles, err
	}
	return progress.NewSplit(notes, func(platforms []string) (all []progress.Renderer, err error) {
		for _, name := range l.names(platforms) {
			r, err := create(name)
			if err != nil {
				return all, err
			}
			all = append(all, r)
		}
		return all, nil
	}), closeFiles, nil
}

// names are the files for platforms: FILE_OS_ARCH, as podman has it, with the variant where that alone tells two
// platforms apart. Without platforms it is FILE.
func (l *Log) names(platforms []string) (names []string) {
	if len(platforms) == 0 {
		return []string{l.File}
	}
	base := func(platform string) string {
		return strings.Join(strings.SplitN(platform, "/", 3)[:2], "_")
	}
	count := map[string]int{}
	for _, p := range platforms {
		count[base(p)]++
	}
	for _, p := range platforms {
		name := base(p)
		if count[name] > 1 {
			name = strings.ReplaceAll(p, "/", "_")
		}
		names = append(names, l.File+"_"+name)
	}
	return names
}
