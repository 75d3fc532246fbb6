// Command cooper builds OCI images from a Dockerfile as an ordinary user.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/network"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/cli"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// version is set by the linker.
var version = "dev"

func main() {
	// This binary starts itself: as root of the user namespace, as the gateway of steps' networks, and as the helper that
	// containers/storage unpacks archives with. All are settled before anything else happens.
	inside, err := reexec.Child()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cooper: %v\n", err)
		os.Exit(command.ExitMachine)
	}
	if network.Child() || build.HandleReexec() {
		return
	}
	limitMemory()
	os.Exit(cli.Main(command.Env{
		Name: os.Args[0], Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Version: version, Inside: inside,
	}))
}

// softLimit is what the collector keeps the heap below if it can, in bytes. A build's own data is far smaller; without
// the limit garbage may take as much again.
const softLimit = 64 << 20

// garbageShare is the garbage that the heap may hold before the collector runs, in percent of what is in use and at
// least of 4 MiB. With Go's 100 a tenth of a small build's processor time goes into collecting for a process that ends
// a moment later; softLimit bounds what a large build gets of it.
const garbageShare = 400

func limitMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbageShare)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softLimit)
	}
}
