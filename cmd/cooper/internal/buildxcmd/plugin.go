package buildxcmd

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// The names that the program has as docker's plugin, and in PATH for tools that look for buildx there.
const (
	pluginName = "docker-buildx"
	aloneName  = "buildx"
)

// metadataWord is what docker asks a plugin for before it runs it.
const metadataWord = "docker-cli-plugin-metadata"

// word is the command that all others are below.
const word = "buildx"

// Is tells whether the program is called by one of buildx's names.
func Is(argv0 string) bool {
	name := filepath.Base(argv0)
	return name == pluginName || name == aloneName
}

// Words are the words of a command line of a program with such a name, with buildx in front: docker calls its plugin
// with that word, compose and others without.
func Words(words []string) []string {
	if len(words) > 0 && (words[0] == word || words[0] == "__complete" || words[0] == "__completeNoDesc") {
		return words
	}
	return append([]string{word}, words...)
}

// metadata is what docker has to know of a plugin.
type metadata struct {
	SchemaVersion, Vendor, Version, ShortDescription, URL string
}

// version is the version of buildx whose command line this is, as buildx writes it.
func version() string { return "v" + dialect.BuildxVersion }

func newMetadataCmd(env command.Env) *cobra.Command {
	return &cobra.Command{
		Use: metadataWord, Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return command.WriteIndented(env.Out(), metadata{
				SchemaVersion: "0.1.0", Vendor: "cooper", Version: version(),
				ShortDescription: "Docker Buildx, by cooper " + env.Version, URL: "https://github.com/cooperbuild/cooper",
			})
		},
	}
}
