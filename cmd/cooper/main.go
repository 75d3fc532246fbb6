// Command cooper builds OCI images from a Dockerfile as an ordinary user.
package main

import (
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/cli"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// version is set by the linker.
var version = "dev"

func main() {
	// This binary starts itself: as root of the user namespace, and as the helper that containers/storage unpacks
	// archives with. Both are settled before anything else happens.
	inside, err := reexec.Child()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cooper: %v\n", err)
		os.Exit(cli.ExitMachine)
	}
	if build.HandleReexec() {
		return
	}
	os.Exit(cli.Main(cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: version, Inside: inside,
	}))
}
