package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// progressMode is how the progress is shown.
func (o *buildOptions) progressMode() (progress.Mode, error) {
	text := o.progress
	if text == "none" { // buildx's word
		text = string(progress.ModeQuiet)
	}
	mode, err := progress.ParseMode(text)
	if err != nil {
		return mode, command.Usage(err)
	}
	if o.quiet {
		mode = progress.ModeQuiet
	}
	return mode, nil
}

// renderer shows the progress in the file of --logfile, or on standard error, or as podman and buildah do. The caller
// closes both.
func (o *buildOptions) renderer(env command.Env) (r progress.Renderer, closeLog func() error, err error) {
	mode, err := o.progressMode()
	if err != nil {
		return nil, nil, err
	}
	view := func(out, errs *os.File) progress.Renderer {
		switch {
		case !o.speaks.Containers() || mode != progress.ModeAuto:
			return progress.New(mode, errs)
		case o.writesToStdout():
			return progress.NewSteps(errs, errs, command.First(o.tags))
		}
		return progress.NewSteps(out, errs, command.First(o.tags))
	}
	if o.log.file == "" {
		return view(env.Stdout, env.Stderr), func() error { return nil }, nil
	}
	return o.log.open(func(f *os.File) progress.Renderer { return view(f, f) })
}

// writesToStdout tells whether standard output holds an archive.
func (o *buildOptions) writesToStdout() bool {
	for _, text := range o.outputs {
		if s, err := export.ParseSpec(text); err == nil && s.Dest == export.Stdout {
			return true
		}
	}
	return false
}

// podmansError is a failed build as podman and buildah tell of it: the instruction that failed, and the exit status of
// its command as that of the program. Any other error of theirs is status 125.
func podmansError(err error) (text string, status int) {
	failed := new(build.StepError)
	if !errors.As(err, &failed) {
		return err.Error(), command.ExitMachine
	}
	if failed.ExitCode != 0 {
		return fmt.Sprintf("building at STEP %q: while running runtime: exit status %d", failed.Text, failed.ExitCode),
			failed.ExitCode
	}
	return fmt.Sprintf("building at STEP %q: %v", failed.Text, failed.Err), command.ExitMachine
}

// statusIn is the status of an error in a dialect, and what is said of it; own is cooper's status.
func statusIn(d dialect.Dialect, err error, own int) (text string, status int) {
	switch {
	case d.Containers() && own < command.ExitSignal:
		text, status = podmansError(err)
		return "Error: " + text, status
	case d == dialect.Docker && own == command.ExitUsage:
		own = command.ExitMachine
	}
	return "cooper: " + err.Error(), own
}
