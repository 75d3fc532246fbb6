package unpack

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// smallFile is the size in bytes up to which a file's body is handed to a writer.
	smallFile = 64 << 10
	// bodies is how many of these bodies are in memory at most, and waiting how many files wait for a writer.
	bodies  = 32
	waiting = 64
)

// Writers write small files for all archives that are unpacked at the same time. The caller calls Close when all of
// these have ended.
type Writers struct {
	group errgroup.Group
	jobs  chan job
	free  chan []byte
}

// NewWriters starts the goroutines.
func NewWriters() *Writers {
	w := &Writers{jobs: make(chan job, waiting), free: make(chan []byte, bodies)}
	for range bodies {
		w.free <- nil
	}
	for range runtime.GOMAXPROCS(0) {
		w.group.Go(func() error {
			for j := range w.jobs {
				err := guard.Call(j.write)
				if j.body != nil {
					w.free <- j.body[:smallFile]
				}
				j.dir.release()
				j.of.end(err)
			}
			return nil
		})
	}
	return w
}

// Close ends the goroutines.
func (w *Writers) Close() {
	close(w.jobs)
	_ = w.group.Wait() // there is no error: those of the jobs have been handed on
}

// body reads a body of size bytes, at most smallFile.
func (w *Writers) body(r io.Reader, size int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	buf := <-w.free
	if buf == nil {
		buf = make([]byte, smallFile)
	}
	if _, err := io.ReadFull(r, buf[:size]); err != nil {
		w.free <- buf
		return nil, err
	}
	return buf[:size], nil
}

// tally counts the files of one archive that are being written.
type tally struct {
	under sync.WaitGroup
	err   atomic.Pointer[error]
}

func (t *tally) end(err error) {
	if err != nil {
		t.err.CompareAndSwap(nil, &err)
	}
	t.under.Done()
}

// failed gives the error of a file that could not be written.
func (t *tally) failed() error {
	if err := t.err.Load(); err != nil {
		return *err
	}
	return nil
}

// wait waits until all files are written.
func (t *tally) wait() error {
	t.under.Wait()
	return t.failed()
}

// job is a small file that is to be written.
type job struct {
	of   *tally
	dir  *dir
	name string
	body []byte
	attr attributes
}

func (j job) write() error {
	fd, err := j.dir.create(j.name)
	if err == nil {
		if err = fsys.WriteAll(fd, j.body); err == nil {
			err = j.attr.set(fd)
		}
		if closeErr := unix.Close(fd); err == nil {
			err = closeErr
		}
	}
	return at(err, j.name)
}

// dir is an open directory of the layer, shared by the files that are being written in it.
type dir struct {
	fd   int
	uses atomic.Int32
}

func newDir(fd int) *dir {
	d := &dir{fd: fd}
	d.uses.Store(1)
	return d
}

func (d *dir) hold() *dir {
	d.uses.Add(1)
	return d
}

func (d *dir) release() {
	if d.uses.Add(-1) == 0 {
		_ = unix.Close(d.fd) // an O_PATH descriptor has nothing to write
	}
}

// create makes a regular file that isn't there.
func (d *dir) create(name string) (int, error) {
	return fsys.Retry(func() (int, error) {
		return unix.Openat(d.fd, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
}
