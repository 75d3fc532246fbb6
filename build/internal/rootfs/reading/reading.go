package reading

import (
	"context"
	"fmt"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

const (
	// readingShows is how long a layer is read before progress shows it; nearly all are read by then. Progress shows the
	// layer's step as done meanwhile.
	readingShows = time.Second
	// readingEvery is the time between two updates of how far the reading has come.
	readingEvery = 200 * time.Millisecond
)

// Reader reads what the steps of a build wrote. It is safe for concurrent use.
type Reader struct {
	// Date replaces times in layers; nil: they stay as they are.
	Date *layer.Date
	// Sums are the digests of large files that several of the layers share.
	Sums     *layer.Sums
	Progress progress.Sink
	Shown    progress.Asides
}

// Read makes the digests of what a step wrote in a snapshot. largeFile, unless it is nil, is told the digests of the
// large files; see layer.Options.
func (r Reader) Read(ctx context.Context, s *plan.Step, snap snapshot.Snapshot,
	largeFile func(name string, sum [32]byte)) (layer.Result, error) {
	shown := r.begin(s.Text)
	res, err := snap.Read(ctx, snapshot.ReadOptions{
		Date: r.Date, Sums: r.Sums, LargeFile: largeFile, Progress: shown.moved, Sparse: r.warnSparse(s.Location),
	})

	shown.end(ctx, err)
	return res, err
}

// reading shows the reading of a layer, if that takes long. Only one goroutine uses it.
type reading struct {
	shown progress.Asides
	what  string
	// began is when the reading began, told when it was last shown.
	began, told time.Time
	aside       *progress.Aside
	bytes       int64
}

// begin starts to watch the reading of a layer; what says whose files are read, such as a step's instruction.
func (r Reader) begin(what string) *reading {
	return &reading{shown: r.Shown, what: what, began: time.Now()}
}

// moved adds n bytes to those that were read.
func (r *reading) moved(n int64) {
	r.bytes += n
	now := time.Now()
	if now.Sub(r.began) < readingShows || now.Sub(r.told) < readingEvery {
		return
	}
	if r.aside == nil {
		a := r.shown.Begin("reading the files of " + r.what)
		r.aside = &a
	}
	r.told = now
	r.aside.Transfer("reading", r.bytes, 0)
}

// end shows that the reading ended, with err, if it was shown at all.
func (r *reading) end(ctx context.Context, err error) {
	if r.aside == nil {
		return
	}
	if err == nil {
		r.aside.Transfer("reading", r.bytes, r.bytes)
	}
	r.aside.End(ctx, err)
}

// warnSparse gives the function for layer.Options.Sparse of a step: it warns of a file with huge holes, whose zeros
// every reader of the layer has to read.
func (r Reader) warnSparse(at dockerfile.Location) func(name string, size, onDisk int64) {
	return func(name string, size, onDisk int64) {
		r.Progress.Emit(progress.Note{Text: fmt.Sprintf(
			"%s:%d: /%s is %s long, with %s of data: a layer has all of it, which takes time here, and disk space where it is unpacked. %s",
			at.File, at.StartLine, name, disk.FormatSize(size), disk.FormatSize(onDisk), sparseHint(name))})
	}
}

// sparseHint says what keeps such a file out of an image.
func sparseHint(name string) string {
	if name == "var/log/lastlog" || name == "var/log/faillog" {
		return `It is made for a high user ID: "useradd --no-log-init" makes none`
	}
	return "Remove it in the step that makes it, if it isn't wanted"
}
