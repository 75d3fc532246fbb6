package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/remote"
	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
	// maxDepth bounds how many levels deep submodules in submodules may be.
	maxDepth = 8
	// maxModules bounds the size of .gitmodules, in bytes.
	maxModules = 1 << 20
)

// tree is a tree that is being made, or the part of it that a submodule fills.
type tree struct {
	// top is the directory to be filled, temp one for files that are needed only meanwhile.
	top, temp string
	// keep says that the tree keeps its .git directory. gitDir is the path of that of a submodule.
	keep   bool
	gitDir string
	// ref is the reference that the request names. depth is how many submodules deep the tree is; 0: it is that of ref.
	ref   remote.Git
	depth int
}

// make fills the tree and gives it its times. It calls release as soon as it doesn't need
// the repository any more.
func (t tree) make(ctx context.Context, s *repo, f found, release func() error) error {
	var stamp unix.Timespec
	if s.r.Ref.CommitTimes {
		var err error
		if stamp, err = s.commitTime(ctx, f); err != nil {
			return err
		}
	}
	if err := t.fill(ctx, s, f, release); err != nil || !s.r.Ref.CommitTimes {
		return err
	}
	return setTimes(t.top, stamp)
}

// fill writes the files of a commit and of its submodules. The repository is given back before a submodule's is taken:
// two that hold each other, or one that holds itself, would wait for ever.
func (t tree) fill(ctx context.Context, s *repo, f found, release func() error) error {
	if t.keep {
		if err := t.clone(ctx, s, f); err != nil {
			return err
		}
	} else if err := t.run(ctx, s, io.Discard, "read-tree", "--reset", "-u", f.commit); err != nil {
		return err
	}
	if !s.r.Ref.WithSubmodules() {
		return release()
	}
	links := &gitlinks{}
	if err := t.run(ctx, s, links, "ls-files", "--stage", "-z"); err != nil {
		return err
	}
	if len(links.found) == 0 {
		return release()
	}
	modules, err := s.modules(ctx, f)
	if err = errors.Join(err, release()); err != nil {
		return err
	}
	for _, link := range links.found {
		if err := t.submodule(ctx, s, link, modules[link.path]); err != nil {
			return fmt.Errorf("submodule %s: %w", link.path, err)
		}
	}
	return nil
}

// run runs git on the tree: with its own .git directory, or with the bare repository and an index beside the tree.
func (t tree) run(ctx context.Context, s *repo, stdout io.Writer, args ...string) error {
	env := s.env(s.protocols())
	dirs := []string{"--git-dir=" + s.dir, "--work-tree=" + t.top}
	if t.keep {
		dirs[0] = "--git-dir=" + t.dotGit()
		env = s.env("file") // the clone fetches from the bare repository on the shelf
	} else {
		env = append(env, "GIT_INDEX_FILE="+filepath.Join(t.temp, fmt.Sprintf("index-%d-%s", t.depth, path.Base(t.top))))
	}
	return command{program: s.room.Program, dir: t.top, env: env, args: append(dirs, args...), stdout: stdout,
		hide: s.hide}.run(ctx)
}

func (t tree) dotGit() string {
	if t.gitDir != "" {
		return t.gitDir
	}
	return filepath.Join(t.top, ".git")
}

// clone makes the .git directory that is kept, with the commit alone and its ref, and checks it out.
func (t tree) clone(ctx context.Context, s *repo, f found) error {
	args := []string{"init", "--quiet", "--template="}
	if len(f.object) == 64 {
		args = append(args, "--object-format=sha256")
	}
	name := mark(f.object)
	if f.ref != "" && f.ref != "HEAD" {
		name += ":" + f.ref
	}
	cached := "file://" + (&url.URL{Path: s.dir}).EscapedPath()
	steps := [][]string{
		args,
		{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--update-head-ok", "--depth=1", "--", cached, name},
		{"checkout", "--quiet", "--force", "--detach", f.commit},
		{"config", "remote.origin.url", remote.Redact(s.url)},
		{"config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"},
	}
	if t.gitDir != "" {
		up, err := filepath.Rel(t.gitDir, t.top)
		if err != nil {
			return err
		}
		steps = append(steps, []string{"config", "core.worktree", up})
	}
	for _, args := range steps {
		if err := t.run(ctx, s, io.Discard, args...); err != nil {
			return err
		}
	}
	return nil
}

// gitlink is a submodule as the tree has it.
type gitlink struct{ path, commit string }

// gitlinks collects the submodules from the output of git ls-files --stage -z.
type gitlinks struct {
	found   []gitlink
	pending []byte
}

func (g *gitlinks) Write(p []byte) (int, error) {
	g.pending = append(g.pending, p...)
	for {
		record, rest, whole := bytes.Cut(g.pending, []byte{0})
		if !whole {
			g.pending = append([]byte(nil), g.pending...)
			return len(p), nil
		}
		g.pending = rest
		info, name, _ := strings.Cut(string(record), "\t")
		if fields := strings.Fields(info); len(fields) == 3 && fields[0] == "160000" {
			g.found = append(g.found, gitlink{path: name, commit: fields[1]})
		}
	}
}

// module is what .gitmodules says of a submodule.
type module struct{ name, url, update string }

// modules reads .gitmodules. The keys are the paths of the submodules.
func (s *repo) modules(ctx context.Context, f found) (map[string]module, error) {
	size, err := s.git(ctx, "cat-file", "-s", "--end-of-options", f.commit+":.gitmodules")
	if err != nil {
		return map[string]module{}, nil //nolint:nilerr // the commit has no .gitmodules
	}
	if n, err := strconv.Atoi(strings.TrimSpace(size)); err != nil || n > maxModules {
		return nil, errors.New(".gitmodules is too large")
	}
	out, err := s.git(ctx, "config", "--null", "--list", "--no-includes", "--blob", f.commit+":.gitmodules")
	if err != nil {
		return nil, fmt.Errorf("read .gitmodules: %w", err)
	}
	byName, paths := map[string]module{}, map[string]string{}
	for record := range strings.SplitSeq(out, "\x00") {
		name, value, _ := strings.Cut(record, "\n")
		name, ours := strings.CutPrefix(name, "submodule.")
		at := strings.LastIndexByte(name, '.')
		if !ours || at < 0 {
			continue
		}
		name, field := name[:at], name[at+1:]
		m := byName[name]
		m.name = name
		switch field {
		case "path":
			paths[value] = name
		case "url":
			m.url = value
		case "update":
			m.update = value
		}
		byName[name] = m
	}
	byPath := map[string]module{}
	for p, name := range paths {
		byPath[p] = byName[name]
	}
	return byPath, nil
}

// submodule fills the directory of a submodule.
func (t tree) submodule(ctx context.Context, s *repo, link gitlink, m module) (err error) {
	switch {
	case m.update == "none":
		return nil
	case m.url == "":
		return errors.New(".gitmodules doesn't say where it comes from\nhint: submodules=false in the URL's query leaves submodules out")
	case t.depth == maxDepth:
		return fmt.Errorf("there are more than %d submodules in each other", maxDepth)
	}
	ref, err := remote.ParseSubmodule(s.r.Ref, m.url)
	if err != nil {
		return err
	}
	if ref.Scheme == "file" && s.r.Ref.Scheme != "file" {
		return fmt.Errorf("%s is refused: a repository that comes over the network can't have files of this machine", ref)
	}
	if err := checkSubdir(t.top, link.path); err != nil {
		return err
	}
	ref.Ref = link.commit
	temp, err := os.MkdirTemp(t.temp, "submodule-")
	if err != nil {
		return err
	}
	r := s.r
	r.Ref = ref
	sub, err := s.room.newRepo(r, t.ref, temp)
	if err != nil {
		return err
	}
	f, release, err := sub.obtain(ctx)
	if err != nil {
		return fmt.Errorf("get %s: %w", ref, err)
	}
	defer func() { err = errors.Join(err, release()) }()
	below := tree{top: filepath.Join(t.top, link.path), temp: temp, keep: t.keep, ref: t.ref, depth: t.depth + 1}
	if t.keep {
		if err := t.placeModule(ctx, s, &below, m); err != nil {
			return err
		}
	}
	return below.fill(ctx, sub, f, release)
}

// placeModule makes the .git directory of a submodule inside that of its repository, as git does.
func (t tree) placeModule(ctx context.Context, s *repo, below *tree, m module) error {
	for part := range strings.SplitSeq(m.name, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") || strings.ContainsAny(part, "\\\n") {
			return fmt.Errorf("the name %q is refused", m.name)
		}
	}
	below.gitDir = filepath.Join(t.dotGit(), "modules", m.name)
	up, err := filepath.Rel(below.top, below.gitDir)
	if err != nil {
		return err
	}
	err = fsys.WithUmask(usualUmask, func() error {
		if err := os.MkdirAll(below.gitDir, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(below.top, ".git"), []byte("gitdir: "+up+"\n"), 0o644)
	})
	if err != nil {
		return err
	}
	return t.run(ctx, s, io.Discard, "config", "submodule."+m.name+".active", "true")
}

func (s *repo) commitTime(ctx context.Context, f found) (unix.Timespec, error) {
	out, err := s.git(ctx, "log", "-1", "--no-show-signature", "--format=%ct", "--end-of-options", f.commit)
	if err != nil {
		return unix.Timespec{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return unix.Timespec{}, fmt.Errorf("the time of commit %s: %w", f.commit, err)
	}
	return unix.Timespec{Sec: seconds}, nil
}

// setTimes gives a directory and everything below it the same modification time.
func setTimes(top string, stamp unix.Timespec) error {
	return filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW)
	})
}
