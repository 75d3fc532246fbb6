package cli

import (
	"os"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// takeSourceDate makes a build argument of SOURCE_DATE_EPOCH in the environment, as docker does, unless there is one.
func takeSourceDate(req *build.Request) error {
	const name = "SOURCE_DATE_EPOCH"
	text, ok := os.LookupEnv(name)
	if given := req.BuildArgs[name]; given != nil {
		text, ok = *given, true
	}
	if !ok {
		return nil
	}
	date, err := build.ParseSourceDate(text)
	if err != nil {
		return command.Usage(err)
	}
	req.BuildArgs[name], req.SourceDate = &text, date
	return nil
}
