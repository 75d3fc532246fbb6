package buildflags

import (
	"os"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/sourcedate"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// sourceDateArg is the build argument, and the variable, that limits the times in an image.
const sourceDateArg = "SOURCE_DATE_EPOCH"

// Dates are the flags about the times in an image as they are written.
type Dates struct {
	sourceDate, timestamp string
	// Rewrite limits the times of files, too, and isn't to be false.
	Rewrite bool
}

// Register adds the flags.
func (d *Dates) Register(f *pflag.FlagSet) {
	f.StringVar(&d.sourceDate, "source-date-epoch", "",
		"latest time of the image and its files, in seconds since 1970, or context for that of the context's commit or "+
			"archive; short for --build-arg "+sourceDateArg+"= (default $"+sourceDateArg+")")
	f.StringVar(&d.timestamp, "timestamp", "", "time of the image and of all new files, in seconds since 1970")
	f.BoolVar(&d.Rewrite, "rewrite-timestamp", true,
		"limit the times of new files by the source date, which is always done")
}

// Apply puts the dates into a request whose build arguments are there. SOURCE_DATE_EPOCH in the environment becomes
// one, as with docker, unless a flag says another.
func (d *Dates) Apply(req *build.Request) error {
	given := req.BuildArgs[sourceDateArg]
	switch {
	case d.timestamp != "" && d.sourceDate != "":
		return command.Usagef("--timestamp and --source-date-epoch contradict each other: give one of them")
	case d.timestamp != "" && given != nil:
		return command.Usagef("--timestamp and --build-arg %s contradict each other: give one of them", sourceDateArg)
	case d.sourceDate != "" && given != nil && *given != d.sourceDate:
		return command.Usagef("--source-date-epoch and --build-arg %s contradict each other: %s and %s", sourceDateArg,
			d.sourceDate, *given)
	case d.timestamp != "":
		return d.exactly(req)
	}

	text, from := d.sourceDate, "--source-date-epoch"
	if given != nil {
		text, from = *given, sourceDateArg
	}
	if outside, ok := os.LookupEnv(sourceDateArg); ok && given == nil && text == "" {
		text, from = outside, sourceDateArg
	} else if given == nil && text == "" {
		return nil
	}
	if !d.Rewrite && text != "" {
		return command.Usagef("--rewrite-timestamp=false and %s=%s contradict each other: the times of files are always "+
			"limited\nhint: leave out one of them", from, text)
	}
	req.BuildArgs[sourceDateArg] = &text
	if text == sourcedate.Context {
		return nil
	}
	date, err := sourcedate.Parse(text)
	if err != nil {
		return command.Usage(err)
	}
	req.SourceDate = date
	return nil
}

// exactly reads --timestamp.
func (d *Dates) exactly(req *build.Request) error {
	at, err := sourcedate.ParseTimestamp(d.timestamp)
	if err != nil {
		return command.Usagef("--timestamp %w", err)
	}
	req.Timestamp = &at
	return nil
}
