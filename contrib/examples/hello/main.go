// Command hello is the program of the example image: it shows the file that a build step wrote, and who it runs as.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

// run looks for the greeting in the root file system that the program itself lies in: that is "/" in a container, and
// the directory that the layers were unpacked to when the demo starts the program without one.
func run() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own path: %w", err)
	}
	root := filepath.Join(filepath.Dir(self), "..", "..")
	greeting, err := os.ReadFile(filepath.Join(root, "etc", "greeting"))
	if err != nil {
		return fmt.Errorf("read greeting: %w", err)
	}
	fmt.Printf("%sThis is %s, running as user %d.\n", greeting, filepath.Base(self), os.Getuid())
	return nil
}
