// Command manual writes cooper's man pages and the reference of its command line, from the commands themselves.
//
//	go run ./cmd/cooper/internal/manual -man DIR -reference DIR -flags FILE -configuration FILE
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/cli"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/settings"
)

func main() {
	man := flag.String("man", "", "directory for the man pages, cooper.1, one for each command, and cooper.toml.5")
	reference := flag.String("reference", "", "directory for the reference, cooper.md and one for each command")
	flags := flag.String("flags", "", "file for the table of the flags of other tools")
	configuration := flag.String("configuration", "", "file for the page about cooper.toml")
	flag.Parse()
	if flag.NArg() > 0 || *man == "" && *reference == "" && *flags == "" && *configuration == "" {
		flag.Usage()
		os.Exit(2)
	}
	err := errors.Join(writeMan(*man), writeReference(*reference), writeFlags(*flags),
		writeConfiguration(*configuration))
	if err != nil {
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
	err := doc.GenManTree(cli.Tree(), &doc.GenManHeader{Title: "COOPER", Section: "1", Source: "cooper", Manual: "cooper",
		Date: &date}, dir)
	if err != nil {
		return err
	}
	page := "% \"COOPER.TOML\" \"5\" \"Jan 1970\" \"cooper\" \"cooper\"\n" + settings.Page()
	return os.WriteFile(filepath.Join(dir, "cooper.toml.5"), md2man.Render([]byte(page)), 0o644)
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
	return os.WriteFile(file, []byte(dialect.Page(build.Flags(), verbFlags(cli.Tree()))), 0o644)
}

// verbFlags are the flags outside of the help of the verbs that flags.md has a table of.
func verbFlags(root *cobra.Command) (all []dialect.VerbFlag) {
	for _, name := range []string{"images", "rmi", "image prune", "tag", "untag", "inspect", "history", "diff", "pull",
		"push", "login", "logout", "save", "load", "run", "manifest create", "manifest add", "manifest annotate",
		"manifest inspect", "manifest push", "manifest remove", "manifest rm", "manifest exists"} {
		cmd, _, err := root.Find(strings.Fields(name))
		if err != nil {
			continue // a test of cli finds each
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				all = append(all, dialect.VerbFlag{Verb: name, Name: f.Name, Short: f.Shorthand,
					Refused: command.Refusal(f) != "", Vain: command.IsVain(f), Text: f.Usage})
			}
		})
	}
	return all
}

// writeConfiguration writes the page about the files with settings.
func writeConfiguration(file string) error {
	if file == "" {
		return nil
	}
	return os.WriteFile(file, []byte(settings.Page()), 0o644)
}
