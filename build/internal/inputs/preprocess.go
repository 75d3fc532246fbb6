package inputs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/progress"
)

const (
	// preprocessed is how the names of the Dockerfiles end that are run through the C preprocessor.
	preprocessed = ".in"
	// maxPreprocessor limits the address space of the preprocessor, in KiB: a file that includes /dev/zero is read to its
	// end.
	maxPreprocessor = 1 << 20
)

// preprocess runs a Dockerfile whose name ends in .in through cpp, as podman and buildah do.
func (o opener) preprocess(ctx context.Context, p located, d foundDockerfile) (foundDockerfile, error) {
	if !o.Preprocess || !strings.HasSuffix(d.name, preprocessed) {
		return d, nil
	}
	fail := func(format string, args ...any) (foundDockerfile, error) {
		return d, fmt.Errorf("preprocess %s: %w", d.name, fmt.Errorf(format, args...))
	}
	if d.path == "" {
		return fail("it is in a context from elsewhere, and an #include in it would read files of this machine\n" +
			"hint: fetch the context first, and build from its directory")
	}
	cpp, err := exec.LookPath("cpp")
	if err != nil {
		return fail("files whose name ends in .in are run through the C preprocessor, and there is no cpp in PATH\n" +
			"hint: install it (package cpp or gcc)")
	}
	dirs := []string{filepath.Dir(d.path)}
	if p.local {
		dirs = append([]string{p.path}, dirs...)
	}
	args := []string{"-E", "-traditional", "-undef", "-nostdinc", "-iquote", dirs[0]}
	text, said, err := runPreprocessor(ctx, cpp, append(args, o.PreprocessorFlags...), d.text)
	switch wrong := complaint(said, err); {
	case wrong != "":
		return fail("%s", wrong)
	case len(text) > maxDockerfile:
		return fail("what cpp gives is larger than %d MiB", maxDockerfile>>20)
	case err != nil:
		o.Progress.Emit(progress.Note{Text: "Ignoring " + strings.Join(strings.Fields(string(said)), " ")})
	}
	markers := lineMarkers()
	for _, m := range markers.FindAllSubmatch(text, -1) {
		if file := string(m[1]); !ownName(file) && !reachable(file, dirs, o.PreprocessorFlags) {
			return fail("it includes %s, which is neither in the context nor beside it\n"+
				"hint: --cpp-flag -IDIR allows a directory", file)
		}
	}
	d.text = markers.ReplaceAll(text, nil)
	return d, nil
}

// lineMarkers are the lines by which the preprocessor says which file the text that follows is from. In heredocs they
// would be part of the text.
func lineMarkers() *regexp.Regexp { return regexp.MustCompile(`(?m)^# \d+ "(.*)"[ \d]*\n`) }

// ownName tells whether the name in a line marker is that of no file.
func ownName(name string) bool {
	return name == "<stdin>" || name == "<built-in>" || name == "<command-line>"
}

// complaint is the first line of what the preprocessor says that keeps the file from being used; empty: it can be used.
// As in buildah an error is none as long as the file is read to its end: a comment can be taken for a directive.
func complaint(said []byte, err error) string {
	if err == nil {
		return ""
	}
	told := false
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, "fatal error") || strings.Contains(line, "out of memory") {
			return strings.TrimSpace(line)
		}
		told = told || strings.Contains(line, "error")
	}
	if told {
		return ""
	}
	return strings.TrimSpace(err.Error() + " " + firstLine(said))
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}

// runPreprocessor gives what the preprocessor makes of a text, and what it says.
func runPreprocessor(ctx context.Context, cpp string, args []string, text []byte) (out, said []byte, err error) {
	var stdout, stderr bytes.Buffer
	words := append([]string{"-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, maxPreprocessor), cpp}, args...)
	cmd := exec.CommandContext(ctx, "/bin/sh", append(words, "-")...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &stdout, &stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // cpp is a program that starts another
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return stdout.Bytes(), stderr.Bytes(), err
}

// reachable tells whether a file that was included is in one of the directories, or a flag names it or a directory that
// it is in. In line markers a backslash stands before quotes and backslashes.
func reachable(file string, dirs, flags []string) bool {
	file = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(file)
	path, err := filepath.EvalSymlinks(file)
	within := func(dir string) bool {
		below, dirErr := filepath.EvalSymlinks(dir)
		rel, relErr := relativeTo(below, path)
		return dirErr == nil && relErr == nil && filepath.IsLocal(rel)
	}
	given := func(flag string) bool {
		name := strings.TrimPrefix(flag, "-I")
		return name != "" && (name == file || within(name))
	}
	return err == nil && (slices.ContainsFunc(dirs, within) || slices.ContainsFunc(flags, given))
}

// relativeTo is the path of a file below a directory, both of which may be relative to the current one.
func relativeTo(dir, file string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if file, err = filepath.Abs(file); err != nil {
		return "", err
	}
	return filepath.Rel(dir, file)
}
