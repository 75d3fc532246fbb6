package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A report is everything that one call of bench found; its JSON form is benchmarks.json. Times are in seconds.
type report struct {
	About about    `json:"about"`
	Rows  []result `json:"rows"`
}

// about says where and how it was measured.
type about struct {
	Date       string            `json:"date"`
	CPU        string            `json:"cpu"`
	Cores      int               `json:"cores"`
	Memory     uint64            `json:"memory_bytes"`
	Kernel     string            `json:"kernel"`
	FileSystem string            `json:"file_system"`
	User       string            `json:"user"`
	Runs       int               `json:"runs"`
	Tools      map[string]string `json:"tools"`
}

// A result is one measured row.
type result struct {
	ID    string `json:"id"`
	Work  string `json:"work"`
	Limit string `json:"limit_program"`
	// Contenders has a value for each that was measured in every run.
	Contenders map[string]values `json:"contenders"`
	Verdicts   []verdict         `json:"verdicts"`
}

// values are one contender's samples in a row.
type values struct {
	Median float64 `json:"median_s"`
	Min    float64 `json:"min_s"`
	Max    float64 `json:"max_s"`
	// Durable is the median with the file system flushed afterwards; 0 where nothing is written.
	Durable float64 `json:"durable_median_s,omitempty"`
	// Peak is the highest of all runs.
	Peak int64 `json:"peak_bytes,omitempty"`
	// Processor is the median of what the processors worked for it.
	Processor float64   `json:"processor_median_s,omitempty"`
	Samples   []float64 `json:"samples_s"`
}

// A verdict holds a goal against what was measured.
type verdict struct {
	Goal    string `json:"goal"`
	Found   string `json:"found"`
	Reached bool   `json:"reached"`
}

func newResult(r row, samples map[string][]sample) result {
	res := result{ID: r.ID, Work: r.Work, Limit: r.Limit.Text, Contenders: map[string]values{}}
	for name, list := range samples {
		res.Contenders[name] = newValues(list)
	}
	res.Verdicts = judge(r.Goal, res.Contenders)
	return res
}

func newValues(list []sample) values {
	var v values
	var durable, processor []float64
	for _, s := range list {
		v.Samples = append(v.Samples, s.Wall.Seconds())
		durable = append(durable, s.Durable.Seconds())
		processor = append(processor, s.Processor.Seconds())
		v.Peak = max(v.Peak, s.Peak)
	}
	v.Median, v.Durable, v.Processor = median(v.Samples), median(durable), median(processor)
	v.Min, v.Max = slices.Min(v.Samples), slices.Max(v.Samples)
	return v
}

// median returns the middle value, or the mean of the two middle values; 0 for none.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// judge returns a verdict for each goal whose contenders were measured.
func judge(g goal, found map[string]values) []verdict {
	cooper, ok := found[cooperName]
	if !ok {
		return nil
	}
	var verdicts []verdict
	if g.Wall > 0 {
		verdicts = append(verdicts, verdict{"<= " + seconds(g.Wall.Seconds()), seconds(cooper.Median),
			cooper.Median <= g.Wall.Seconds()})
	}
	if limit, ok := found[limitName]; ok && g.OfLimit > 0 {
		ratio := cooper.Median / limit.Median
		verdicts = append(verdicts, verdict{fmt.Sprintf("<= %v x limit", g.OfLimit), fmt.Sprintf("%.2f x", ratio),
			ratio <= g.OfLimit})
	}
	if limit, ok := found[limitName]; ok && g.More > 0 {
		more := cooper.Median - limit.Median
		verdicts = append(verdicts, verdict{"<= limit + " + seconds(g.More.Seconds()), seconds(more),
			more <= g.More.Seconds()})
	}
	if buildah, ok := found[buildahName]; ok && g.OverBuildah > 0 {
		ratio := buildah.Median / cooper.Median
		verdicts = append(verdicts, verdict{fmt.Sprintf(">= %.0f x faster than buildah", g.OverBuildah),
			fmt.Sprintf("%.1f x", ratio), ratio >= g.OverBuildah})
	}
	return append(verdicts, verdict{"<= " + mebibytes(peakGoal), mebibytes(cooper.Peak), cooper.Peak <= peakGoal})
}

// line is the result in one line, for the terminal.
func (r result) line() string {
	var parts []string
	for _, name := range []string{cooperName, limitName, buildahName} {
		if v, ok := r.Contenders[name]; ok {
			parts = append(parts, fmt.Sprintf("%s %s (processor %s)", name, seconds(v.Median), seconds(v.Processor)))
		}
	}
	parts = append(parts, "peak "+mebibytes(r.Contenders[cooperName].Peak))
	for _, v := range r.Verdicts {
		if !v.Reached {
			parts = append(parts, fmt.Sprintf("MISSED %s: %s", v.Goal, v.Found))
		}
	}
	return strings.Join(parts, ", ")
}

// write makes both files in dir; an older pair is replaced only by a whole new one.
func (r report) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for name, data := range map[string][]byte{"benchmarks.json": append(text, '\n'),
		"benchmarks.md": []byte(r.markdown())} {
		temporary := filepath.Join(dir, "."+name+".new")
		if err := os.WriteFile(temporary, data, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("write report: %w", errors.Join(err, os.Remove(temporary)))
		}
	}
	return nil
}

// markdown is the report as a page.
func (r report) markdown() string {
	var b strings.Builder
	a := r.About
	fmt.Fprintf(&b, "# Benchmarks\n\nMade by `make bench` on %s; [benchmarks.json](benchmarks.json) has every sample.\n\n",
		a.Date)
	fmt.Fprintf(&b, "Machine: %s, %d cores, %s of memory, Linux %s, %s, as %s. Median of %d runs; the contenders take turns.\n\n",
		a.CPU, a.Cores, mebibytes(int64(a.Memory)), a.Kernel, a.FileSystem, a.User, a.Runs)
	for _, name := range []string{cooperName, buildahName} {
		if text, ok := a.Tools[name]; ok {
			fmt.Fprintf(&b, "- %s: %s\n", name, text)
		}
	}
	b.WriteString("\n| work | cooper | limit program | cooper / limit | buildah | buildah / cooper | processor time (limit) | peak memory | must reach | reached |\n" +
		"|---|---|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		b.WriteString(row.markdown())
	}
	b.WriteString("\nThe limit programs do what the work needs, whoever does it, and no more:\n\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "- %s: %s\n", row.ID, row.Limit)
	}
	b.WriteString("\nTimes are those of the whole process, from start to exit; in row main they are counted from the start of the Go runtime to the end of the " +
		"last package's initialisation, by the runtime's own trace. In brackets: with the file system flushed to disk afterwards. " +
		"Rows that write much start with 3 GiB of memory that has just been used and freed, for each contender: a virtual machine pays for pages " +
		"that it has not had before. Peak memory is the largest resident set of any process of cooper's build. Processor time is that of all processes, in " +
		"user code and in the kernel; what a limit does in the benchmark's own process, such as hashing, isn't in it.\n")
	return b.String()
}

func (r result) markdown() string {
	cell := func(name string) string {
		v, ok := r.Contenders[name]
		if !ok {
			return "-"
		}
		text := seconds(v.Median)
		if v.Durable > v.Median*1.02 {
			text += " (" + seconds(v.Durable) + ")"
		}
		return text
	}
	ratio := func(of, by string) string {
		a, okA := r.Contenders[of]
		b, okB := r.Contenders[by]
		if !okA || !okB {
			return "-"
		}
		return fmt.Sprintf("%.2f", a.Median/b.Median)
	}
	var goals []string
	reached := "yes"
	for _, v := range r.Verdicts {
		goals = append(goals, v.Goal)
		if !v.Reached {
			reached = "**no**"
		}
	}
	peak, worked := "-", "-"
	if v, ok := r.Contenders[cooperName]; ok {
		peak, worked = mebibytes(v.Peak), seconds(v.Processor)
		if limit := r.Contenders[limitName]; limit.Processor > 0 {
			worked += " (" + seconds(limit.Processor) + ")"
		}
	} else {
		reached = "-"
	}
	return fmt.Sprintf("| %s: %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.ID, r.Work, cell(cooperName),
		cell(limitName), ratio(cooperName, limitName), cell(buildahName), ratio(buildahName, cooperName), worked, peak,
		strings.Join(goals, ", "), reached)
}

// seconds writes a time with three digits, in ms below one second.
func seconds(s float64) string {
	switch {
	case s < 0.01:
		return fmt.Sprintf("%.1f ms", s*1000)
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	default:
		return fmt.Sprintf("%.2f s", s)
	}
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<19)>>20) }

// describe looks at the machine and asks the tools for their versions.
func describe(ctx context.Context, b *bench) about {
	a := about{Date: time.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(),
		CPU:        field("/proc/cpuinfo", "model name"),
		FileSystem: "a plain directory", User: "an ordinary user", Runs: b.config.Runs, Tools: map[string]string{}}
	kibibytes, err := strconv.ParseUint(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	if err == nil {
		a.Memory = kibibytes << 10
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		a.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	if b.account.switched {
		a.FileSystem = "new ext4 (loop mount)"
	}
	s, err := b.site(ctx)
	if err != nil {
		return a
	}
	defer closeLoudly(s)
	for _, t := range b.tools {
		_, version, err := s.run(ctx, t.version...)
		if err != nil {
			version = "version unknown"
		}
		version, _, _ = strings.Cut(version, "\n")
		a.Tools[t.name] = strings.TrimSpace(version + " " + t.note)
	}
	return a
}

// field returns the value of the first line "key : value" of a file of /proc, or "".
func field(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
