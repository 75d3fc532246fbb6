// Command cooper-bake reads bake files for cooper bake, with docker buildx's own packages: HCL, JSON and compose files.
// It is a program of its own since these packages are six times as large as cooper, and take longer to start than a
// cached build.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cooperbuild/cooper/internal/bakefile"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Exit statuses of cooper.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "%s is started by cooper bake\n", bakefile.Program)
		os.Exit(exitUsage)
	}
	err := guard.Call(func() error { return run(context.Background(), os.Args[1], os.Stdin, os.Stdout) })
	if err != nil {
		fmt.Fprintf(os.Stderr, "cooper: %v\n", err)
		os.Exit(exitFailed)
	}
}

// run answers a question.
func run(ctx context.Context, question string, stdin io.Reader, out io.Writer) error {
	var q bakefile.Question
	if err := json.Unmarshal([]byte(question), &q); err != nil {
		return fmt.Errorf("read question: %w", err)
	}
	answer := resolve
	if q.Describe {
		answer = describe
	}
	a, err := answer(ctx, q, stdin)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

var errNoFile = errors.New("there is no bake file here\nhint: -f names one; the usual names are docker-bake.hcl, " +
	"docker-bake.json and compose.yaml")
