package rootfs

import (
	"context"
	"fmt"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

const (
	// readingShows is how long a layer is read without a word: nearly all are through before it. The step is said to be
	// done by then.
	readingShows = time.Second
	// readingEvery is how often it is told how far it has come.
	readingEvery = 200 * time.Millisecond
)

// reading shows how a layer is read, if that takes long. One goroutine uses it.
type reading struct {
	shown progress.Asides
	what  string
	// began is when the reading did, told when somebody was last told of it.
	began, told time.Time
	aside       *progress.Aside
	bytes       int64
}

// reading begins to watch the reading of the files of something, such as a step's instruction.
func (b *Roots) reading(what string) *reading {
	return &reading{shown: b.Shown, what: what, began: time.Now()}
}

// moved counts bytes of the layer.
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

// end is told how it ended.
func (r *reading) end(ctx context.Context, err error) {
	if r.aside == nil {
		return
	}
	if err == nil {
		r.aside.Transfer("reading", r.bytes, r.bytes)
	}
	r.aside.End(ctx, err)
}

// warnSparse gives what warns of a file of a step's that nearly nothing is in and everybody has to go through.
func (b *Roots) warnSparse(at dockerfile.Location) func(name string, size, onDisk int64) {
	return func(name string, size, onDisk int64) {
		b.Progress.Emit(progress.Note{Text: fmt.Sprintf(
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
