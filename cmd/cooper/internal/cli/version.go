package cli

import (
	"fmt"
	"runtime"

	specs "github.com/opencontainers/image-spec/specs-go"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// versions are what --json tells, with the names that buildah gives it.
type versions struct {
	Version       string `json:"version"`
	GoVersion     string `json:"goVersion"`
	ImageSpec     string `json:"imageSpec"`
	OSArch        string `json:"osArch"`
	BuildPlatform string `json:"buildPlatform"`
}

func newVersionCmd(env command.Env) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  command.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			here := runtime.GOOS + "/" + runtime.GOARCH
			if asJSON {
				return command.WriteIndented(env.Out(), versions{Version: env.Version, GoVersion: runtime.Version(),
					ImageSpec: specs.Version, OSArch: here, BuildPlatform: here})
			}
			_, err := fmt.Fprintf(env.Out(), "cooper %s %s %s\n", env.Version, here, runtime.Version())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}
