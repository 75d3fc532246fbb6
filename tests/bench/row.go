package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// peakGoal is the most memory, in bytes, that any row may take.
const peakGoal = 100 << 20

// A goal is what a row must reach; a zero field is no goal.
type goal struct {
	// Wall is the longest time.
	Wall time.Duration
	// OfLimit is the highest ratio to the limit program.
	OfLimit float64
	// More is the longest time beside that of the limit program.
	More time.Duration
	// OverBuildah is how many times faster than buildah it has to be at least.
	OverBuildah float64
}

// A row is one kind of work.
type row struct {
	ID, Work string
	// Containerfile is what is built; empty means that only the tool's version is asked for.
	Containerfile string
	// ToMain rows measure not the whole process but the way to main, as the Go runtime tells it.
	ToMain bool
	// Input is a kind that makeInput knows, or "".
	Input string
	// Image is a kind of image that the server has; registryMark in the Containerfile stands for the server.
	Image string
	// Also is another one that the server has.
	Also string
	// Target says that steps reach a web server of this machine, for whose address hostMark stands in the Containerfile.
	Target bool
	// Before are commands that are run once before anything is measured; Command is measured instead of a build.
	Before  []action
	Command action
	// Cached rows measure building again what was just built; others build without the cache.
	Cached bool
	// Fresh rows get a new site for each run, because they write many files.
	Fresh bool
	Limit limit
	Goal  goal
}

func allRows() []row {
	const runs, sleeping, seconds = 20, 4, 2
	return append([]row{
		{ID: "main", Work: "start of the binary to main", ToMain: true, Limit: toMainLimit(),
			Goal: goal{Wall: 8 * time.Millisecond}},
		{ID: "start", Work: "`version`, the whole process", Limit: startLimit()},
		{ID: "run20", Work: "20 x `RUN true` on busybox, no cache, tagged", Containerfile: manyRuns(runs),
			Limit: runsLimit(runs), Goal: goal{Wall: 250 * time.Millisecond, OverBuildah: 10}},
		{ID: "run20-cached", Work: "the same, fully cached", Containerfile: manyRuns(runs), Cached: true,
			Limit: startLimit(), Goal: goal{Wall: 12 * time.Millisecond}},
		{ID: "copy10k", Work: "COPY of 10,000 files of 4 KiB, and one RUN", Containerfile: copyAndRun(inputTree),
			Input: inputTree,
			Fresh: true, Limit: copyTreeLimit(), Goal: goal{OfLimit: 1.5}},
		{ID: "copy10k-cached", Work: "the same, fully cached", Containerfile: copyAndRun(inputTree), Input: inputTree,
			Cached: true, Limit: lookLimit(), Goal: goal{Wall: 20 * time.Millisecond}},
		{ID: "copy1g", Work: "COPY of 1 GiB of random bytes, and one RUN", Containerfile: copyAndRun(inputFile),
			Input: inputFile,
			Fresh: true, Limit: copyFileLimit(), Goal: goal{OfLimit: 1.3}},
		{ID: "copy1g-cached", Work: "the same, fully cached", Containerfile: copyAndRun(inputFile), Input: inputFile,
			Cached: true, Limit: lookLimit(), Goal: goal{Wall: 150 * time.Millisecond}},
		{ID: "pull", Work: "pull of 16 layers, 1 GiB in 455 MB of gzip, from loopback, and one RUN",
			Containerfile: pullAndRun(imageLarge), Image: imageLarge, Fresh: true, Limit: pullLimit(imageLarge),
			Goal: goal{OfLimit: 1.2}},
		{ID: "pull-files", Work: "the same of 60,000 files", Containerfile: pullAndRun(imageSmall), Image: imageSmall,
			Fresh: true, Limit: pullLimit(imageSmall), Goal: goal{OfLimit: 1.2}},
		{ID: "pull-zstd", Work: "the first in zstd", Containerfile: pullAndRun(imageZstd), Image: imageZstd, Fresh: true,
			Limit: pullLimit(imageZstd), Goal: goal{OfLimit: 1.2}},
		{ID: "stages4", Work: "4 independent stages that each sleep 2 s", Containerfile: sleepers(sleeping, seconds),
			Limit: sleepLimit(sleeping, seconds), Goal: goal{Wall: 2300 * time.Millisecond}},
	}, slices.Concat(outputRows(), networkRows(), cacheRows())...)
}

func rowIDs(rows []row) []string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

// imagesGroup is the name of the rows of images that come and leave, as a list for -rows.
const imagesGroup = "images"

// inGroup tells whether a row is one of imagesGroup.
func (r row) inGroup() bool {
	return r.Image != "" || strings.HasPrefix(r.ID, "archive-") || r.ID == "copyfrom1g"
}

// chooseRows returns the named rows in the table's order; all if there are no names.
func chooseRows(names []string) ([]row, error) {
	rows := allRows()
	if i := slices.Index(names, imagesGroup); i >= 0 {
		names = slices.Delete(slices.Clone(names), i, i+1)
		for _, r := range rows {
			if r.inGroup() && !slices.Contains(names, r.ID) {
				names = append(names, r.ID)
			}
		}
	}
	if len(names) == 0 {
		return rows, nil
	}
	for _, name := range names {
		if !slices.Contains(rowIDs(rows), name) {
			return nil, fmt.Errorf("choose rows: no row is called %q: there are %s", name, strings.Join(rowIDs(rows), ", "))
		}
	}
	return slices.DeleteFunc(rows, func(r row) bool { return !slices.Contains(names, r.ID) }), nil
}

// A contender is measured in a row.
type contender struct {
	name    string
	measure func(ctx context.Context, s *site, n int) (sample, error)
}

// contenders returns the tools and the row's limit.
func (b *bench) contenders(r row) []contender {
	if r.ToMain {
		return b.toMainContenders()
	}
	list := []contender{{limitName, func(ctx context.Context, s *site, n int) (sample,
		error) {
		return r.Limit.measure(ctx, b, s, n)
	}}}
	for _, t := range b.tools {
		if r.Command != nil && t.name != cooperName {
			continue
		}
		list = append(list, contender{t.name, func(ctx context.Context, s *site, n int) (sample,
			error) {
			return b.build(ctx, turn{s, n}, r, t)
		}})
	}
	return list
}

// build measures one call of the tool, and that it named the image it made.
func (b *bench) build(ctx context.Context, at turn, r row, t tool) (sample, error) {
	s, n := at.site, at.n
	if r.Command != nil {
		took, _, err := s.run(ctx, r.Command(b, s, n)...)
		return took, err
	}
	if r.Containerfile == "" {
		took, _, err := s.run(ctx, t.version...)
		return took, err
	}
	argv := t.build(s, build{dir: s.Context, file: filepath.Join(s.Home, "Containerfile"), tag: "localhost/bench:" + r.ID,
		noCache: !r.Cached, loopback: r.Image != ""})
	took, id, err := s.run(ctx, argv...)
	if err == nil && len(strings.TrimPrefix(id, "sha256:")) != 64 {
		err = fmt.Errorf("build %s with %s: it should print an image ID and nothing else: %.200q", r.ID, t.name, id)
	}
	return took, err
}

// measureRow takes the row's samples. The result of a row in which a contender failed holds the others' samples.
func (b *bench) measureRow(ctx context.Context, r row) (result, error) {
	list := b.contenders(r)
	samples := map[string][]sample{}
	failed := map[string]error{}
	var s *site
	defer func() {
		if s != nil {
			closeLoudly(s)
		}
	}()
	for n := range b.config.Runs {
		if s == nil {
			var err error
			if s, err = b.prepare(ctx, r, n, failed); err != nil {
				return newResult(r, samples), err
			}
		}
		for i := range list {
			c := list[(i+n)%len(list)]
			if failed[c.name] != nil {
				continue
			}
			took, err := b.once(ctx, r, c, turn{s, n})
			if err != nil {
				failed[c.name] = err
				continue
			}
			samples[c.name] = append(samples[c.name], took)
		}
		if r.Fresh {
			closeLoudly(s)
			s = nil
		}
	}
	return newResult(r, samples), errors.Join(failed[cooperName], failed[limitName], failed[buildahName])
}

// A turn is one run in one site.
type turn struct {
	site *site
	n    int
}

// once takes one sample on a file system that has nothing left to write from before. Rows that write much also find
// memory that has been in use.
func (b *bench) once(ctx context.Context, r row, c contender, t turn) (sample, error) {
	if _, err := t.site.settle(); err != nil {
		return sample{}, err
	}
	if r.Fresh {
		if err := command(ctx, b.self, touchCommand); err != nil {
			return sample{}, err
		}
	}
	before := processorTime()
	took, err := c.measure(ctx, t.site, t.n)
	took.Processor = processorTime() - before
	if err != nil || c.name == limitName || r.Containerfile == "" {
		return took, err
	}
	flush, err := t.site.settle()
	took.Durable = took.Wall + flush
	return took, err
}

// prepare makes a site with the row's input, and lets every tool make its base image and, unless the site is used only
// once, build the row once unmeasured. A tool that can't is noted in failed and left out from then on.
func (b *bench) prepare(ctx context.Context, r row, n int, failed map[string]error) (_ *site, err error) {
	s, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if r.Containerfile == "" && r.Command == nil {
		return s, nil
	}
	text, err := b.containerfile(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := s.write(filepath.Join(s.Home, "Containerfile"), text); err != nil {
		return nil, err
	}
	if r.Input != "" {
		if _, _, err := s.run(ctx, b.self, inputCommand, r.Input, s.Context); err != nil {
			return nil, err
		}
		if err := wait(ctx, settleAge); err != nil {
			return nil, err
		}
	}
	for _, t := range b.tools {
		if failed[t.name] != nil || r.Command != nil && t.name != cooperName {
			continue
		}
		if failed[t.name] = b.makeBase(ctx, s, t); failed[t.name] == nil && !r.Fresh {
			_, failed[t.name] = b.build(ctx, turn{s, 0}, r, t)
		}
		for i := 0; i < len(r.Before) && failed[t.name] == nil; i++ {
			_, _, failed[t.name] = s.run(ctx, r.Before[i](b, s, n)...)
		}
	}
	return s, nil
}

// containerfile starts the servers that the row's builds need and gives what is built, with their addresses.
func (b *bench) containerfile(ctx context.Context, r row) (text string, err error) {
	text = r.Containerfile
	for _, image := range []string{r.Image, r.Also} {
		if image == "" {
			continue
		}
		if err := b.serve(ctx, image); err != nil {
			return "", err
		}
		text = strings.ReplaceAll(text, registryMark, b.server.listen.Addr().String())
	}
	if r.Target {
		if b.target == nil {
			if b.target, err = newTarget(ctx); err != nil {
				return "", err
			}
		}
		text = strings.ReplaceAll(text, hostMark, b.target.listen.Addr().String())
	}
	return text, nil
}
