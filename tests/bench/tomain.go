package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// traceInits makes the Go runtime write a line to stderr for each package that it initialises.
const traceInits = "GODEBUG=inittrace=1"

func toMainLimit() limit {
	return limit{Text: "the same for this benchmark's own program"}
}

// toMainContenders are the programs written in Go: the runtime of others doesn't tell.
func (b *bench) toMainContenders() []contender {
	list := []contender{toMain(limitName, b.self, nopCommand)}
	for _, t := range b.tools {
		if t.name == cooperName {
			list = append(list, toMain(t.name, t.version...))
		}
	}
	return list
}

func toMain(name string, argv ...string) contender {
	return contender{name, func(ctx context.Context, s *site, _ int) (sample, error) {
		took, trace, err := s.trace(ctx, argv...)
		if err != nil {
			return took, err
		}
		took.Wall, err = lastInit(trace)
		return took, err
	}}
}

// lastInit is when the last package was ready, counted from the start of the Go runtime. Lines of the trace are
// "init PACKAGE @START ms, DURATION ms clock, ...".
func lastInit(trace string) (time.Duration, error) {
	var last time.Duration
	for line := range strings.Lines(trace) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != "init" || !strings.HasPrefix(f[2], "@") {
			continue
		}
		start, err := strconv.ParseFloat(f[2][1:], 64)
		if err != nil {
			return 0, fmt.Errorf("read init trace: %q: %w", line, err)
		}
		took, err := strconv.ParseFloat(f[4], 64)
		if err != nil {
			return 0, fmt.Errorf("read init trace: %q: %w", line, err)
		}
		last = max(last, time.Duration((start+took)*float64(time.Millisecond)))
	}
	if last == 0 {
		return 0, fmt.Errorf("read init trace: it has no line of a package: %.200q", trace)
	}
	return last, nil
}
