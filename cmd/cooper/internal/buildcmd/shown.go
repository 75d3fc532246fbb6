package buildcmd

import (
	"os"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Mode is how the progress is shown that a flag, or the environment in its place, asks for.
func Mode(flag string) (show.Mode, error) {
	o := Options{progress: flag}
	if err := o.takeEnvironment(os.LookupEnv); err != nil {
		return "", err
	}
	return o.progressMode()
}

// progressMode is how the progress is shown.
func (o *Options) progressMode() (show.Mode, error) {
	text := o.progress
	if text == "none" { // buildx's word
		text = string(show.ModeQuiet)
	}
	mode, err := show.ParseMode(text)
	if err != nil {
		return mode, command.Usage(err)
	}
	if o.quiet {
		mode = show.ModeQuiet
	}
	return mode, nil
}

// renderer shows the progress in the file of --logfile, or on standard error, or as podman and buildah do. The caller
// closes both.
func (o *Options) renderer(env command.Env) (r progress.Renderer, closeLog func() error, err error) {
	mode, err := o.progressMode()
	if err != nil {
		return nil, nil, err
	}
	view := func(out, errs *os.File) progress.Renderer {
		switch {
		case !o.speaks.Containers() || mode != show.ModeAuto:
			return show.New(mode, errs)
		case o.writesToStdout():
			return show.NewSteps(errs, errs, command.First(o.tags))
		}
		return show.NewSteps(out, errs, command.First(o.tags))
	}
	if o.log.File == "" {
		return view(env.Stdout, env.Stderr), func() error { return nil }, nil
	}
	return o.log.Open(mode != show.ModeQuiet, func(f *os.File) progress.Renderer { return view(f, f) })
}

// writesToStdout tells whether standard output holds an archive.
func (o *Options) writesToStdout() bool {
	for _, text := range o.outputs {
		if s, err := export.ParseSpec(text); err == nil && s.Dest == export.Stdout {
			return true
		}
	}
	return false
}
