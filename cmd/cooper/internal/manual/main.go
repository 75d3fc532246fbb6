// Command manual writes cooper's man pages and the reference of its command line, from the commands themselves.
//
//	go run ./cmd/cooper/internal/manual -man DIR -reference DIR
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/cli"
)

func main() {
	man := flag.String("man", "", "directory for the man pages, cooper.1 and one for each command")
	reference := flag.String("reference", "", "directory for the reference, cooper.md and one for each command")
	flag.Parse()
	if flag.NArg() > 0 || *man == "" && *reference == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := errors.Join(writeMan(*man), writeReference(*reference)); err != nil {
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
