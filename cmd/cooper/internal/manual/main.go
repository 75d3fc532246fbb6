// Command manual writes cooper's man pages and the reference of its command line, from the commands themselves.
//
//	go run ./cmd/cooper/internal/manual -man DIR -reference DIR -flags FILE
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/cli"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

func main() {
	man := flag.String("man", "", "directory for the man pages, cooper.1 and one for each command")
	reference := flag.String("reference", "", "directory for the reference, cooper.md and one for each command")
	flags := flag.String("flags", "", "file for the table of the flags of other tools")
	flag.Parse()
	if flag.NArg() > 0 || *man == "" && *reference == "" && *flags == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := errors.Join(writeMan(*man), writeReference(*reference), writeFlags(*flags)); err != nil {
		fmt.Fprintf(os.Stderr, "manual: %v\n", err)
		os.Exit(1)
	}
}

func writeMan(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// The date is fixed: the same commands give the same pages.
	date := time.Unix(0, 0).UTC()
	return doc.GenManTree(cli.Tree(), &doc.GenManHeader{Title: "COOPER", Section: "1", Source: "cooper", Manual: "cooper",
		Date: &date}, dir)
}

func writeReference(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return doc.GenMarkdownTree(cli.Tree(), dir)
}

// writeFlags writes what becomes of the flags of other tools.
func writeFlags(file string) error {
	if file == "" {
		return nil
	}
	build, _, err := cli.Tree().Find([]string{"build"})
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(dialect.Page(build.Flags())), 0o644)
}
