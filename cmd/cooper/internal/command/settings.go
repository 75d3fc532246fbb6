package command

import (
	"os"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/settings"
)

// Settings are those of the configuration files; what is wrong with one is the user's, as a wrong flag is.
func Settings() (settings.Settings, error) {
	s, err := settings.Read(os.Getenv)
	if err != nil {
		return s, Usage(err)
	}
	return s, nil
}
