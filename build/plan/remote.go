package plan

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// unnamed is the name that docker gives a file whose URL has no file name.
const unnamed = "__unnamed__"

// fetchFlags are the flags of ADD that are about remote sources, as written.
type fetchFlags struct {
	checksum   string
	keepGitDir *bool
	unpack     bool
}

// takeRemotes moves the sources that aren't local files from op.Sources to op.Remotes.
func (x copying) takeRemotes(op *Copy) error {
	var checksum string
	if x.fetched != nil {
		var err error
		if checksum, err = x.word(x.fetched.checksum); err != nil {
			return err
		}
	}
	if checksum != "" && len(op.Sources)+len(op.Files) != 1 {
		return &hinted{"--checksum is for one source, and there are more", "write an ADD for each source"}
	}

	local := make([]string, 0, len(op.Sources))
	for _, src := range op.Sources {
		r, isRemote, err := readRemote(src)
		if err == nil && isRemote && x.fetched != nil {
			err = r.follow(x.opts.Sources)
		}
		if err != nil {
			return err
		}
		if !isRemote {
			local = append(local, src)
			continue
		}
		if x.fetched == nil {
			return &hinted{fmt.Sprintf("COPY takes no URL: %s", r.Text), "ADD does"}
		}

		if err := x.fetched.apply(&r, checksum); err != nil {
			return err
		}
		if r.Name == unnamed && strings.HasSuffix(op.Dest, "/") {
			return &hinted{fmt.Sprintf("%s names no file that could go into %s", r.Text, op.Dest),
				"give the destination a file name"}
		}

		r.Before = len(local)
		op.Remotes = append(op.Remotes, r)
	}

	if checksum != "" && len(op.Remotes) == 0 {
		return &hinted{"--checksum is for URLs and git repositories", "leave it out: a local file is what it is"}
	}
	op.Sources = local
	return nil
}

// ReadRemote reads a source of an ADD that has the checksum, "" for none; ok is false if it is a local file.
func ReadRemote(src, checksum string) (r Remote, ok bool, err error) {
	r, ok, err = readRemote(src)
	if err == nil && ok {
		err = new(fetchFlags).apply(&r, checksum)
	}
	return r, ok, err
}

// readRemote reads a source that is a URL or a repository.
func readRemote(src string) (r Remote, ok bool, err error) {
	r.Text = remote.Redact(src)
	git, isGit, err := remote.ParseGit(src)
	switch {
	case err != nil:
		return r, true, err
	case isGit && !git.LikeLocal:
		r.Git = git
		return r, true, nil
	case !remote.IsHTTP(src):
		return r, false, nil
	}
	if u, err := url.Parse(src); err != nil || u.Host == "" {
		return r, true, fmt.Errorf("%s is not a valid URL", r.Text)
	}
	if r.URL, r.Name = src, remote.FileName(src); r.Name == "" {
		r.Name = unnamed
	}
	return r, true, nil
}

// follow puts another source in the place of r, or refuses it.
func (r *Remote) follow(s Sources) (err error) {
	if r.URL != "" {
		r.URL, err = URLSource(s, r.URL)
		return err
	}
	r.Git, err = GitSource(s, r.Git)
	return err
}

// apply sets the fields of a remote source that the flags of ADD determine; checksum is --checksum after expansion.
func (f *fetchFlags) apply(r *Remote, checksum string) error {
	if r.URL != "" {
		r.Unpack, r.Checksum = f.unpack, checksum
		if checksum == "" {
			return nil
		}
		if err := remote.CheckDigest(checksum); err != nil {
			return &hinted{"--checksum: " + err.Error(), ""}
		}
		return nil
	}

	g := &r.Git
	if f.keepGitDir != nil {
		if g.KeepGitDir != nil && *g.KeepGitDir != *f.keepGitDir {
			return &hinted{fmt.Sprintf("--keep-git-dir=%t contradicts keep-git-dir=%t of the URL", *f.keepGitDir, *g.KeepGitDir),
				""}
		}
		g.KeepGitDir = f.keepGitDir
	}

	sum := strings.ToLower(checksum)
	switch {
	case sum != "" && g.Checksum != "" && sum != g.Checksum:
		return &hinted{fmt.Sprintf("--checksum=%s contradicts the checksum %s of the URL", checksum, g.Checksum), ""}
	case strings.Trim(sum, "0123456789abcdef") != "":
		return &hinted{fmt.Sprintf("--checksum=%s is not a commit", checksum),
			"of a git repository it is the commit ID, or the first digits of it"}
	case sum != "":
		g.Checksum = sum
	}

	if remote.IsCommit(g.Ref) && !strings.HasPrefix(g.Ref, g.Checksum) {
		return &hinted{fmt.Sprintf("the commit %s does not match the checksum %s", g.Ref, g.Checksum), ""}
	}
	return nil
}

// written gives all sources in the order of the instruction, without credentials.
func (op *Copy) written() []string {
	var out []string
	next := 0
	for _, r := range op.Remotes {
		out = append(out, op.Sources[next:r.Before]...)
		next = r.Before
		out = append(out, r.Text)
	}
	return append(out, op.Sources[next:]...)
}
