package export

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// ErrTerminal says that an archive would have gone to a terminal.
var ErrTerminal = errors.New(
	"dest=- would write the archive to a terminal: redirect standard output, or give a file as dest")

// dockerManifestName is the file that "docker load" starts from.
const dockerManifestName = "manifest.json"

type archiveOptions struct {
	dest   string
	stdout io.Writer
	// time is the modification time of every member; a time before 1970 becomes 1970.
	time time.Time
}

// archive writes a layout as a tar stream. Members come in the order: oci-layout, blobs, index.json, manifest.json.
type archive struct {
	archiveOptions
	spools
	tar *tar.Writer
	// file is nil if the stream goes to standard output, and that is no pipe.
	file *outfile.File
	done bool
}

var _ form = (*archive)(nil)

func openArchive(ctx context.Context, o archiveOptions) (*archive, error) {
	// Times before 1970 and fractions of a second would need extended headers, which some readers of these archives don't
	// have.
	if o.time.Unix() < 0 {
		o.time = time.Unix(0, 0)
	}
	o.time = o.time.UTC().Truncate(time.Second)
	a := &archive{archiveOptions: o}
	out, file, err := openFile(ctx, o.dest, o.stdout)
	if err != nil {
		return nil, err
	}
	a.tar, a.file = tar.NewWriter(out), file
	if err := a.begin(); err != nil {
		a.abort()
		return nil, err
	}
	return a, nil
}

// openFile opens the file that an archive is written to; file is nil if that is standard output, and no pipe.
func openFile(ctx context.Context, dest string, stdout io.Writer) (out io.Writer, file *outfile.File, err error) {
	if dest == Stdout {
		if stdout == nil {
			return nil, nil, errors.New("open standard output: there is none")
		}
		f, ok := stdout.(*os.File)
		if ok && terminal.Is(f) {
			return nil, nil, ErrTerminal
		}
		if ok {
			file = outfile.Pipe(ctx, f, "standard output")
		}
		if file == nil {
			return stdoutWriter{stdout}, nil, nil
		}
		return pipeWriter{file, stdout}, file, nil
	}
	if file, err = outfile.Create(ctx, dest); err != nil {
		return nil, nil, err
	}
	return file, file, nil
}

// spoolDir gives the directory for temporary files of an archive that goes to standard output. /tmp is the last choice,
// since it is often in memory.
func spoolDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	if unix.Access("/var/tmp", unix.W_OK) == nil {
		return "/var/tmp"
	}
	return os.TempDir()
}

func (a *archive) begin() error {
	text, err := Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return fmt.Errorf("encode %s: %w", ocispec.ImageLayoutFile, err)
	}
	if err := a.member(ocispec.ImageLayoutFile, text); err != nil {
		return err
	}
	for _, dir := range []string{ocispec.ImageBlobsDir, path.Join(ocispec.ImageBlobsDir, "sha256")} {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: a.time}
		if err := a.tar.WriteHeader(h); err != nil {
			return err
		}
	}
	return nil
}

// spool makes a temporary file without a name, so that not even a killed process leaves it behind.
func (a *archive) spool() (f *os.File, err error) {
	dir := filepath.Dir(a.dest)
	if a.file != nil && !a.file.Direct() {
		f, err = a.file.Unnamed()
	} else {
		dir = spoolDir()
		f, err = outfile.Unnamed(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("create temporary file in %s: %w", dir, cause(err))
	}
	a.keep(f)
	return f, nil
}

// has is of no use: an archive is written anew each time.
func (a *archive) has(ocispec.Descriptor) *os.File { return nil }

func (a *archive) take(_ context.Context, f *os.File) (*os.File, error) {
	a.keep(f)
	return f, nil
}

func (a *archive) add(ctx context.Context, b blob) error {
	name := blobPath(b.Descriptor)
	if b.file == nil && b.layer == nil {
		return a.member(name, b.data)
	}
	if err := a.header(name, b.Size); err != nil {
		return err
	}
	if b.layer != nil {
		_, err := Codec{Kind: Uncompressed}.Pack(ctx, *b.layer, a.tar, 1)
		return err
	}
	if _, err := b.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read layer %s back: %w", b.Digest, cause(err))
	}
	buf := make([]byte, min(copyBuffer, b.Size))
	if _, err := io.CopyBuffer(a.tar, untilDone(ctx, b.file), buf); err != nil {
		return fmt.Errorf("write layer %s: %w", b.Digest, err)
	}
	return a.close(b.file)
}

func (a *archive) commit(_ context.Context, c contents) error {
	text, err := Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: c.entries,
	})
	if err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	if err := a.member(ocispec.ImageIndexFile, text); err != nil {
		return err
	}
	if c.docker != nil {
		if err := a.member(dockerManifestName, c.docker); err != nil {
			return err
		}
	}
	if err := a.tar.Close(); err != nil {
		return err
	}
	if a.file != nil {
		if err := a.file.Commit(); err != nil {
			return err
		}
	}

	a.done = true
	return nil
}

func (a *archive) abort() {
	a.closeAll()
	if a.file != nil && !a.done {
		a.file.Abort()
	}
}

func (a *archive) header(name string, size int64) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: a.time})
}

func (a *archive) member(name string, data []byte) error {
	if err := a.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err := io.Copy(a.tar, bytes.NewReader(data))
	return err
}

// dockerManifest makes manifest.json: https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
func dockerManifest(written []Result) ([]byte, error) {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	all := make([]entry, 0, len(written))
	for _, w := range written {
		e := entry{Config: blobPath(ocispec.Descriptor{Digest: w.ImageID}), RepoTags: w.Names, Layers: []string{}}
		for _, l := range w.Layers {
			e.Layers = append(e.Layers, blobPath(l))
		}
		all = append(all, e)
	}
	text, err := Marshal(all)
	return text, wrap("encode "+dockerManifestName, err)
}

// stdoutWriter is standard output as a writer whose errors name it.
type stdoutWriter struct{ w io.Writer }

func (s stdoutWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	return n, wrap("write standard output", cause(err))
}

// pipeWriter is standard output that is a pipe. What nobody is there to read any more is written to standard output
// itself, so that the process ends by a signal, as others in front of a pipe do.
type pipeWriter struct {
	pipe   *outfile.File
	stdout io.Writer
}

func (p pipeWriter) Write(text []byte) (int, error) {
	n, err := p.pipe.Write(text)
	if errors.Is(err, unix.EPIPE) {
		return stdoutWriter{p.stdout}.Write(text[n:])
	}
	return n, err
}

// readFunc is a reader.
type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// untilDone gives a reader that reads from r until the context is done, and then gives the context's cause.
func untilDone(ctx context.Context, r io.Reader) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	})
}
