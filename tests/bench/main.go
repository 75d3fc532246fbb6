package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// privateMark is set for the copy of bench that runs in its own mount namespace.
const privateMark = "COOPER_BENCH_PRIVATE"

// config is what the command line says.
type config struct {
	// Cooper and Buildah are paths of binaries; an empty Buildah means to do without.
	Cooper, Buildah string
	// Out is the directory that the two reports go to.
	Out string
	// Temp holds everything that is measured; empty means the system's directory for temporary files.
	Temp string
	// Runs is how often each row is measured, at least 1.
	Runs int
	// Rows names the rows to measure; empty means all.
	Rows []string
}

func main() {
	// Bench starts itself for the jobs that need a process of their own.
	if len(os.Args) == 2 && os.Args[1] == nopCommand {
		return
	}
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func dispatch(args []string) error {
	if len(args) == 1 && args[0] == touchCommand {
		return touchMemory()
	}
	if len(args) == 3 && args[0] == inputCommand {
		return makeInput(args[1], args[2])
	}
	if len(args) == 4 && args[0] == imageCommand {
		return makeImage(args[1], args[2], args[3])
	}
	if len(args) == 2 && args[0] == fetchCommand {
		return fetch(args[1])
	}
	if len(args) == 3 && args[0] == connectCommand {
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return connect(context.Background(), args[1], n)
	}
	config, err := parseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 && os.Getenv(privateMark) == "" {
		return runPrivately(args)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, config)
}

func parseFlags(args []string) (config, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	c := config{}
	rows := ""
	flags.StringVar(&c.Cooper, "cooper", "bin/cooper", "the cooper `binary` to measure; empty measures the others only")
	flags.StringVar(&c.Buildah, "buildah", "buildah", "the buildah `binary` to measure beside it; empty does without")
	flags.StringVar(&c.Out, "out", "docs", "write benchmarks.json and benchmarks.md to this `directory`")
	flags.StringVar(&c.Temp, "temp", "", "make files below this `directory`")
	flags.IntVar(&c.Runs, "runs", 5, "measure every row this `number` of times")
	flags.StringVar(&rows, "rows", "", "measure only these rows, a `list` with commas: "+strings.Join(rowIDs(allRows()),
		",")+"; "+imagesGroup+" stands for those of images that come and leave")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 || c.Runs < 1 {
		return c, errors.New("read arguments: no operands are taken, and runs must be at least 1")
	}
	if rows != "" {
		c.Rows = strings.Split(rows, ",")
	}
	return c, nil
}

// runPrivately runs bench again in its own mount namespace: whatever it mounts is gone when it ends, even by SIGKILL.
func runPrivately(args []string) error {
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), privateMark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	// Ctrl-C reaches both; the copy cleans up and ends, and this process waits for it.
	signal.Ignore(os.Interrupt)
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return errors.New("measure: see the lines above")
	}
	return err
}

// run measures the rows and writes the reports.
func run(ctx context.Context, c config) error {
	rows, err := chooseRows(c.Rows)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, c)
	if err != nil {
		return err
	}
	defer b.close()
	results := report{About: describe(ctx, b)}
	var failed []error
	for _, r := range rows {
		fmt.Fprintf(os.Stderr, "%-16s %s\n", r.ID, r.Work)
		result, err := b.measureRow(ctx, r)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%-16s failed: %v\n", r.ID, err)
			failed = append(failed, fmt.Errorf("measure %s: %w", r.ID, err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		results.Rows = append(results.Rows, result)
		fmt.Fprintf(os.Stderr, "%-16s %s\n", "", result.line())
	}
	if err := results.write(c.Out); err != nil {
		return errors.Join(append(failed, err)...)
	}
	fmt.Printf("wrote %s and %s\n", filepath.Join(c.Out, "benchmarks.json"), filepath.Join(c.Out, "benchmarks.md"))
	return errors.Join(failed...)
}
