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

	"github.com/cooperbuild/cooper/build/fetch"
	"github.com/cooperbuild/cooper/build/fileop"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/source"
)

// remotes are the sources of an ADD that are fetched, each once.
type remotes []*remoteSource

// remoteSource is one of them.
type remoteSource struct {
	room *Room
	// step is the ID of the step that asks for it.
	step int
	plan.Remote

	mu   sync.Mutex
	done bool
	got  fetched
	err  error
}

// fetched is what a remote source is on this machine.
type fetched struct {
	// dir holds what is copied, and pattern is its name there.
	dir, pattern string
	// content names it: the digest of a file, the commit of a repository.
	content string
}

func (r *Room) remotes(s *plan.Step, op *plan.Copy) remotes {
	var out remotes
	for _, remote := range op.Remotes {
		out = append(out, &remoteSource{room: r, step: s.ID, Remote: remote})
	}
	return out
}

// shape is what is known without asking anybody, and without what tells where the content comes from.
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

// key is the content of all of them. What a checksum or a commit ID says is taken from there, without asking a server.
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

// settled is the content as far as it is known before it is fetched. A repository that is kept has its ref in it.
func (r *remoteSource) settled() string {
	if r.URL != "" {
		return r.Checksum
	}
	if id := r.request().Settled(); id != "" && !isSet(r.Git.KeepGitDir) {
		return "git:" + id
	}
	return ""
}

func (r *remoteSource) request() fetch.GitRequest {
	dirs := r.room.ReadDirs
	if dirs == nil {
		dirs = []string{} // nowhere, and not anywhere
	}
	return fetch.GitRequest{Ref: r.Git, Secrets: r.room.Inputs.Contexts.Secret, LocalDirs: dirs}
}

// get fetches the source the first time.
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
	file, err := c.HTTP(ctx, fetch.HTTPRequest{
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
func (r *remoteSource) progress() fetch.ProgressFunc {
	const pause = 200 * time.Millisecond
	last := time.Now()
	return func(done, total int64) {
		if done == total || time.Since(last) >= pause {
			last = time.Now()
			r.room.Inputs.Roots.Progress.Emit(progress.Transfer{ID: r.step, What: r.Text, Done: done, Total: total})
		}
	}
}

// literal is the pattern that matches a name and nothing else.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// copy carries out an ADD whose local sources o has: in the order in which the sources were written.
func (rs remotes) copy(ctx context.Context, o fileop.CopyOptions) (total fileop.CopyResult, err error) {
	if len(rs) == 0 {
		return fileop.Copy(ctx, o)
	}
	for _, r := range rs { // before anything is written
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
	// A file that is written over another one has the name in the layer, but not the content.
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
		o.Excludes = nil // the file is named
	}
	return part(o)
}
