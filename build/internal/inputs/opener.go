package inputs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/fetch"
	"github.com/cooperbuild/cooper/build/internal/fetch/git"
	"github.com/cooperbuild/cooper/build/internal/fetch/web"
	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Stdin as a context or a Dockerfile is standard input.
const Stdin = "-"

// keepGitArg is the build argument by which docker keeps the .git directory of a main context.
const keepGitArg = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"

// located is the directory that a context was found in or unpacked to.
type located struct {
	path string
	// local says that the directory is the user's own. Any other may hold files that somebody else has made, so no path
	// in it is resolved by the kernel.
	local bool
	// fleeting says that release removes the directory.
	fleeting bool
	// what is the source of the context, for messages.
	what string
	// dockerfile is the text of the Dockerfile that the source gave in place of files; nil: it gave files.
	dockerfile []byte
	// date gives the time of a context that came from elsewhere; nil: it is a directory of the user's, whose files have
	// the times of a checkout or an editor.
	date func(ctx context.Context) (time.Time, error)
	// release gives the directory back when the build has ended; never nil.
	release func() error
}

// Options say which contexts and Dockerfile a build has, and which secrets and files of the machine serve to get them.
type Options struct {
	// Context, Dockerfile, Then, IgnoreFile and Stdin are those of build.Request.
	Context, Dockerfile, IgnoreFile string
	Then                            []string
	// Preprocess and PreprocessorFlags are those of build.Request.
	Preprocess        bool
	PreprocessorFlags []string
	Stdin             io.Reader
	// BuildArgs are the values of build arguments by name; nil: the argument was given without a value.
	BuildArgs map[string]*string
	// Named are the named contexts, by name.
	Named map[string]plan.NamedContext
	// Secret looks up the tokens for servers, such as GIT_AUTH_TOKEN, by ID.
	Secret func(id string) ([]byte, bool)
	// Progress receives the notes and warnings of the build; Shown shows the progress of downloads and unpacking.
	Progress progress.Sink
	Shown    progress.Asides
	// Sources says which repositories and URLs may be used as contexts and Dockerfiles; nil: all.
	Sources plan.Sources
}

// opener finds contexts, downloads and unpacks them.
type opener struct {
	Options
	// store is where fetched and unpacked contexts lie; nil: nothing is built, and none can be had.
	store *store.Store
	cache func() (*fetch.Sources, error)
}

func newOpener(o Options, st *store.Store) opener {
	return opener{Options: o, store: st, cache: sync.OnceValues(func() (*fetch.Sources, error) {
		if st == nil {
			return nil, errNoStore
		}
		c, err := fetch.Open(st.Paths().Remote())
		if err == nil {
			err = c.Trim(time.Now().Add(-keepFetched))
		}
		return c, err
	})}
}

// errNoStore is the error for contexts that have to be fetched or unpacked where there is no store.
var errNoStore = errors.New(
	"what is fetched is kept in the store, which a check doesn't open\nhint: --pull opens it")

// keepFetched is how long a fetched file or repository is kept after its last use.
const keepFetched = 30 * 24 * time.Hour

// main finds the main context. As with docker, a directory that exists is meant before anything else.
func (o opener) main(ctx context.Context) (located, error) {
	where := o.Context
	if where == Stdin {
		return o.stdin(ctx)
	}

	p, err := o.local(ctx, where)
	if !isNoPath(err) {
		return p, err
	}

	ref, isGit, gitErr := remote.ParseGit(where)
	switch {
	case gitErr != nil:
		return located{}, gitErr
	case isGit:
		if arg := o.BuildArgs[keepGitArg]; arg != nil {
			if keep, err := strconv.ParseBool(*arg); err == nil && keep {
				ref.KeepGitDir = &keep
			}
		}
		return o.git(ctx, ref)
	case remote.IsHTTP(where):
		return o.http(ctx, where, false)
	case strings.Contains(where, "://"):
		return located{}, fmt.Errorf("%s: %w", remote.Redact(where), errContextURL)
	}

	return located{}, err
}

// isNoPath tells whether an error says that nothing can be at a path: there is none, or it is no path at all, as a URL
// with a long query.
func isNoPath(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG)
}

var errContextURL = errors.New(
	"it is neither a directory nor a git repository (https://...git, git://, ssh://, git@HOST:PATH) nor an http URL")

// named finds a named context that is made of files.
func (o opener) named(ctx context.Context, c plan.NamedContext) (located, error) {
	switch c.Kind {
	case plan.ContextGit:
		ref, ok, err := remote.ParseGit(c.Ref)
		if err != nil {
			return located{}, err
		}
		if ok {
			return o.git(ctx, ref)
		}
	case plan.ContextHTTP:
		return o.http(ctx, c.Ref, true)
	case plan.ContextDirectory:
		return o.local(ctx, c.Ref)
	}
	return located{}, fmt.Errorf("a context of kind %q has no files of its own", c.Kind)
}

// local finds a context at a path of this machine: a directory or, as with podman, an archive.
func (o opener) local(ctx context.Context, path string) (located, error) {
	info, err := os.Stat(path)
	if err != nil {
		return located{}, err
	}
	if info.IsDir() {
		return located{path: path, local: true, what: path, release: func() error { return nil }}, nil
	}

	notDirectory := fmt.Errorf(
		"%s is not a directory and not a tar archive\nhint: the context is the directory to build from; -f names the Dockerfile", path)
	if !info.Mode().IsRegular() {
		return located{}, notDirectory
	}

	f, err := os.Open(path)
	if err != nil {
		return located{}, err
	}
	defer func() { _ = f.Close() }()
	stream := bufio.NewReaderSize(f, fileop.SniffSize)
	head, err := stream.Peek(fileop.SniffSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return located{}, err
	}

	if !fileop.IsArchive(head) {
		return located{}, notDirectory
	}
	return o.unpack(ctx, stream, path)
}

// stdin reads the context from standard input, which is an archive or a Dockerfile; its first bytes tell which.
func (o opener) stdin(ctx context.Context) (located, error) {
	if o.Dockerfile == Stdin {
		return located{}, errors.New(
			"standard input can't be the context and the Dockerfile at once\nhint: with -f - the context is a directory or a URL")
	}
	const what = "standard input"
	in := interruptible(ctx, o.Stdin)
	defer func() { _ = in.Close() }()
	stream := bufio.NewReaderSize(in, fileop.SniffSize)
	head, err := stream.Peek(fileop.SniffSize)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return located{}, fmt.Errorf("read %s: %w", what, err)
	case len(head) == 0:
		return located{}, errors.New(
			"standard input is empty\nhint: it can be a tar archive of the context (tar -c . | cooper build -) or a Dockerfile (cooper build - <Dockerfile)")
	case fileop.IsArchive(head):
		return o.unpack(ctx, stream, what)
	}
	text, err := readText(stream, what)
	if err != nil {
		return located{}, err
	}
	return o.onlyDockerfile(ctx, text, what)
}

// onlyDockerfile makes the empty context of a Dockerfile that came without files.
func (o opener) onlyDockerfile(ctx context.Context, text []byte, what string) (located, error) {
	if o.Dockerfile != "" {
		return located{}, fmt.Errorf("%s is a Dockerfile, and -f %s names another one\nhint: leave one of them out", what,
			o.Dockerfile)
	}
	if o.store == nil { // nothing will be built, and there is nothing to copy
		return located{what: what, dockerfile: text, release: func() error { return nil }}, nil
	}
	p, err := o.temp(ctx, what)
	p.dockerfile = text
	return p, err
}

// temp makes an empty directory on the store's file system. A later build removes it if this one is killed.
func (o opener) temp(ctx context.Context, what string) (located, error) {
	if o.store == nil {
		return located{}, fmt.Errorf("%s must be unpacked into the store, which a check doesn't open\nhint: --pull opens it",
			what)
	}
	dir, remove, err := o.store.Parts().Scratch.Tree(ctx, "context")
	if err != nil {
		return located{}, err
	}
	return located{path: dir, fleeting: true, what: what, release: remove}, nil
}

func (o opener) unpack(ctx context.Context, archive io.Reader, what string) (located, error) {
	p, err := o.temp(ctx, what)
	if err != nil {
		return located{}, err
	}
	shown := o.Shown.Begin("unpacking " + what)
	meter := shown.Meter("archive", 0)
	res, err := fileop.Unpack(ctx, io.TeeReader(archive, meter), p.path)
	meter.Stop()
	shown.End(ctx, err)
	if err != nil {
		return located{}, errors.Join(fmt.Errorf("unpack %s: %w", what, err), p.release())
	}
	if res.Devices > 0 {
		o.note("%d device nodes of the context are left out", res.Devices)
	}
	p.date = func(context.Context) (time.Time, error) { return newest(p.path) }
	return p, nil
}

func (o opener) note(format string, args ...any) {
	o.Progress.Emit(progress.Note{Text: fmt.Sprintf(format, args...)})
}

func (o opener) git(ctx context.Context, ref remote.Git) (located, error) {
	ref, err := plan.GitSource(o.Sources, ref)
	if err != nil {
		return located{}, err
	}
	cache, err := o.cache()
	if err != nil {
		return located{}, err
	}
	shown := o.Shown.Begin("fetching " + ref.String())
	tree, err := cache.Git(ctx, git.Request{Ref: ref, SSHAuthSock: os.Getenv("SSH_AUTH_SOCK"), Secrets: o.Secret})
	shown.End(ctx, err)
	if err != nil {
		return located{}, err
	}
	ref.Ref = tree.Commit
	return located{path: tree.Dir, what: ref.String(), release: tree.Release, date: o.commitDate(ref)}, nil
}

// http downloads a context from a URL. It unpacks an archive. Anything else is a Dockerfile without files if it is the
// main context, and a file with the name "context" in a named one.
func (o opener) http(ctx context.Context, rawURL string, named bool) (p located, err error) {
	file, err := o.download(ctx, rawURL)
	if err != nil {
		return located{}, err
	}
	defer func() {
		if releaseErr := file.Release(); releaseErr != nil {
			err = errors.Join(err, releaseErr)
			if p.release != nil {
				err = errors.Join(err, p.release())
			}
			p = located{}
		}
	}()

	f, err := os.Open(file.Path)
	if err != nil {
		return located{}, err
	}
	defer func() { _ = f.Close() }()
	what := remote.Redact(rawURL)
	stream := bufio.NewReaderSize(f, fileop.SniffSize)
	head, err := stream.Peek(fileop.SniffSize)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return located{}, err
	case fileop.IsArchive(head):
		p, err = o.unpack(ctx, stream, what)
		return p.dated(file), err
	case named:
		return o.oneFile(ctx, stream, file)
	}

	text, err := readText(stream, what)
	if err != nil {
		return located{}, err
	}
	p, err = o.onlyDockerfile(ctx, text, what)
	return p.dated(file), err
}

// oneFile makes a context of one file, which gets the name that BuildKit gives it.
func (o opener) oneFile(ctx context.Context, content io.Reader, from *web.File) (located, error) {
	p, err := o.temp(ctx, from.Name)
	if err != nil {
		return located{}, err
	}
	path := filepath.Join(p.path, "context")
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = io.Copy(to, content)
		err = errors.Join(err, to.Close())
	}
	if err == nil {
		err = os.Chtimes(path, from.ModTime, from.ModTime)
	}
	if err != nil {
		return located{}, errors.Join(err, p.release())
	}
	return p, nil
}

func (o opener) download(ctx context.Context, rawURL string) (*web.File, error) {
	if _, err := url.Parse(rawURL); err != nil {
		return nil, fmt.Errorf("%s: it is not a valid URL", remote.Redact(rawURL))
	}
	rawURL, err := plan.URLSource(o.Sources, rawURL)
	if err != nil {
		return nil, err
	}
	cache, err := o.cache()
	if err != nil {
		return nil, err
	}
	shown := o.Shown.Begin("fetching " + remote.Redact(rawURL))
	file, err := cache.HTTP(ctx, web.Request{URL: rawURL, Secrets: o.Secret, Progress: func(done, total int64) {
		shown.Transfer("download", done, total)
	}})
	shown.End(ctx, err)
	return file, err
}

// readText reads a Dockerfile.
func readText(r io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err != nil {
		return nil, fmt.Errorf("read Dockerfile: %w", err)
	}
	if len(text) > maxDockerfile {
		return nil, fmt.Errorf("read Dockerfile: %s is larger than %d MiB", name, maxDockerfile>>20)
	}
	return text, nil
}

// interruptible reads from r until the context ends, even while r has nothing to give.
func interruptible(ctx context.Context, r io.Reader) io.ReadCloser {
	if r == nil {
		r = bytes.NewReader(nil)
	}
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = in.CloseWithError(context.Cause(ctx)) })
	go func() {
		// A read of a terminal or an open pipe may never return; then this goroutine ends with the process.
		err := guard.Call(func() error {
			_, err := io.Copy(in, r)
			return err
		})
		_ = in.CloseWithError(err)
		stop()
	}()
	return out
}
