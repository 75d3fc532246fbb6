package copystep

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/fetch/git"
	"github.com/cooperbuild/cooper/build/internal/fetch/web"
	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
)

// remotes are the remote sources of an ADD. Each is fetched at most once.
type remotes []*remoteSource

// remoteSource is a URL or repository that an ADD fetches.
type remoteSource struct {
	room *Room
	// step is the ID of the step that fetches it.
	step int
	plan.Remote

	mu   sync.Mutex
	done bool
	got  fetched
	err  error
}

// fetched names the files of a remote source on this machine.
type fetched struct {
	// dir is the directory that the files are in, pattern the source to copy from there.
	dir, pattern string
	// content identifies the content: the digest of a file, the commit of a repository.
	content string
}

func (r *Room) remotes(s *plan.Step, op *plan.Copy) remotes {
	var out remotes
	for _, remote := range op.Remotes {
		out = append(out, &remoteSource{room: r, step: s.ID, Remote: remote})
	}
	return out
}

// shape gives the part of the key that is known without asking a server; it leaves out where the content comes from.
func (rs remotes) shape() []string {
	var out []string
	for _, r := range rs {
		g := r.Git
		out = append(out, strconv.Itoa(r.Before), r.Name, strconv.FormatBool(r.Unpack), g.Subdir,
			strconv.FormatBool(isSet(g.KeepGitDir)),
			strconv.FormatBool(g.WithSubmodules()), strconv.FormatBool(g.CommitTimes))
	}
	return out
}

func isSet(b *bool) bool { return b != nil && *b }

// key gives the content of all remote sources. A source with a checksum or commit ID needs no server for that.
func (rs remotes) key(ctx context.Context) ([]string, error) {
	var out []string
	for _, r := range rs {
		content := r.settled()
		if content == "" {
			got, err := r.get(ctx)
			if err != nil {
				return nil, err
			}
			content = got.content
		}
		out = append(out, content)
	}
	return out, nil
}

// settled gives the content if a checksum or commit ID tells it before the source is fetched, else "". With .git, the
// ref is part of the content.
func (r *remoteSource) settled() string {
	if r.URL != "" {
		return r.Checksum
	}
	if id := r.request().Settled(); id != "" && !isSet(r.Git.KeepGitDir) {
		return "git:" + id
	}
	return ""
}

func (r *remoteSource) request() git.Request {
	dirs := r.room.ReadDirs
	if dirs == nil {
		dirs = []string{} // not nil: repositories by file:// are refused everywhere
	}
	return git.Request{Ref: r.Git, Secrets: r.room.Inputs.Contexts.Secret, LocalDirs: dirs}
}

// get gives the files of the source, which the first call fetches.
func (r *remoteSource) get(ctx context.Context) (fetched, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.done {
		r.got, r.err = r.fetch(ctx)
		r.done = true
		r.room.Inputs.Roots.Space.Check()
	}
	return r.got, r.err
}

func (r *remoteSource) fetch(ctx context.Context) (fetched, error) {
	c, err := r.room.Inputs.Contexts.Fetched()
	if err != nil {
		return fetched{}, err
	}
	if r.URL == "" {
		req := r.request()
		if req.SSHAuthSock, err = r.room.gitAgent(); err != nil {
			return fetched{}, err
		}
		tree, err := c.Git(ctx, req)
		if err != nil {
			return fetched{}, err
		}
		r.room.Inputs.Roots.OnClose(tree.Release)
		content := "git:" + tree.Commit
		if isSet(r.Git.KeepGitDir) {
			content += " " + tree.Ref
		}
		return fetched{dir: tree.Dir, pattern: "/", content: content}, nil
	}

	file, err := c.HTTP(ctx, web.Request{
		URL: r.URL, Checksum: digest.Digest(r.Checksum), Name: r.Name, Secrets: r.room.Inputs.Contexts.Secret,
		Progress: r.progress(),
	})
	if err != nil {
		return fetched{}, err
	}

	r.room.Inputs.Roots.OnClose(file.Release)
	return fetched{dir: filepath.Dir(file.Path), pattern: literal(file.Name), content: file.Digest.String()}, nil
}

// progress shows a download, a few times a second.
func (r *remoteSource) progress() web.ProgressFunc {
	const pause = 200 * time.Millisecond
	last := time.Now()
	return func(done, total int64) {
		if done == total || time.Since(last) >= pause {
			last = time.Now()
			r.room.Inputs.Roots.Progress.Emit(progress.Transfer{ID: r.step, What: r.Text, Done: done, Total: total})
		}
	}
}

// literal gives the pattern that matches only the name itself.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// copy carries out an ADD with remote sources, in the order in which the sources were written. o has the local sources.
func (rs remotes) copy(ctx context.Context, o fileop.CopyOptions) (total fileop.CopyResult, err error) {
	if len(rs) == 0 {
		return fileop.Copy(ctx, o)
	}
	for _, r := range rs { // all are fetched before a file is written
		if _, err := r.get(ctx); err != nil {
			return total, err
		}
	}

	all := len(o.Sources) + len(o.Files) + len(rs)
	part := func(p fileop.CopyOptions) error {
		p.Others = all - len(p.Sources) - len(p.Files)
		res, err := fileop.Copy(ctx, p)
		total.Files, total.Bytes, total.Devices = total.Files+res.Files, total.Bytes+res.Bytes, total.Devices+res.Devices
		total.Missed, total.Owners = append(total.Missed, res.Missed...), append(total.Owners, res.Owners...)
		return err
	}

	// LargeCopied would record a file by its name in the layer, which a later source may replace.
	o.LargeCopied = nil
	local := o
	local.Files = nil
	next := 0
	for _, r := range rs {
		if local.Sources = o.Sources[next:r.Before]; len(local.Sources) > 0 {
			if err := part(local); err != nil {
				return total, err
			}
		}
		next = r.Before
		if err := r.copy(o, part); err != nil {
			return total, err
		}
	}

	local.Sources, local.Files = o.Sources[next:], o.Files
	if len(local.Sources)+len(local.Files) == 0 {
		return total, nil
	}
	return total, part(local)
}

// copy copies one remote source, which has been fetched.
func (r *remoteSource) copy(o fileop.CopyOptions, part func(fileop.CopyOptions) error) (err error) {
	from, err := source.OpenDir(r.got.dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	o.Source, o.Sources, o.Files, o.Ignore = from.Root(), []string{r.got.pattern}, nil, nil
	o.UnpackArchives = r.Unpack
	if r.URL != "" {
		o.Excludes = nil // --exclude doesn't apply to a file that the source names
	}
	return part(o)
}
