package remote

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Git is a reference to a git repository, with the commit and the directory of it that are wanted. Its String and its
// GoString show no credentials.
type Git struct {
	// Remote is the URL or USER@HOST:PATH that git understands, with the credentials that were written into it and without
	// fragment and query.
	Remote string
	// Scheme is "https", "http", "git", "ssh" or "file"; "ssh" for USER@HOST:PATH. Host is the host with its port, if any.
	Scheme, Host string
	// Ref is a branch, a tag, a full name (refs/...) or a commit, full or abbreviated; empty: the default branch.
	Ref string
	// Checksum is the ID of the commit that Ref must name, in full or its first digits, in lower case; empty: any commit.
	Checksum string
	// Subdir is a clean relative path below the top of the repository; empty: all of it.
	Subdir string
	// KeepGitDir and Submodules are nil if the reference doesn't say.
	KeepGitDir, Submodules *bool
	// CommitTimes gives all files the time of the commit instead of the time of the checkout.
	CommitTimes bool
	// ByCommit fetches the commit that Checksum (or Ref) names in full, whichever commit Ref names by now.
	ByCommit bool
	// LikeLocal is true for github.com/OWNER/REPO, which could be a path as well. As the name of a build context it means
	// the repository, as a source of ADD in a Dockerfile the path.
	LikeLocal bool
}

// KeepsGitDir tells whether the tree is wanted with its .git directory, which a subdirectory never has.
func (g Git) KeepsGitDir() bool { return g.KeepGitDir != nil && *g.KeepGitDir && g.Subdir == "" }

// WithSubmodules tells whether the directories of submodules are wanted filled.
func (g Git) WithSubmodules() bool { return g.Submodules == nil || *g.Submodules }

// ParseGit reads a reference to a git repository. ok is false, without an error, for text that isn't one: a path, or
// the URL of a file. An http(s) URL is a repository only if its path ends in ".git".
func ParseGit(text string) (ref Git, ok bool, err error) {
	scheme, _, hasScheme := strings.Cut(text, "://")
	switch {
	case strings.HasPrefix(text, "./"), strings.HasPrefix(text, "../"):
		return Git{}, false, nil
	case strings.HasPrefix(text, "github.com/"):
		// Unlike other URLs it needs no ".git" at its end.
		ref, err = parseURL("https", "https://"+text)
		ok, ref.LikeLocal = true, true
	case hasScheme && !strings.ContainsAny(scheme, "@:/"):
		scheme = strings.ToLower(scheme)
		if ok = slices.Contains(gitSchemes(), scheme) && (!isWeb(scheme) || endsInGit(text)); ok {
			ref, err = parseURL(scheme, text)
		}
	default:
		ref, ok, err = parseSCP(text)
	}

	if !ok {
		return Git{}, false, nil
	}
	if err == nil {
		err = ref.check()
	}
	if err != nil {
		return Git{}, true, fmt.Errorf("git reference %s: %w", Redact(text), err)
	}

	return ref, true, nil
}

// String is the reference in the form URL#REF:SUBDIR, credentials masked.
func (g Git) String() string {
	text := Redact(g.Remote)
	if g.Ref != "" || g.Subdir != "" {
		text += "#" + g.Ref
	}
	if g.Subdir != "" {
		text += ":" + g.Subdir
	}
	return text
}

// GoString is String: not even a dump shows credentials.
func (g Git) GoString() string { return g.String() }

// IsCommit tells whether text is a full commit ID: 40 hexadecimal digits, or 64 in a repository that uses SHA-256.
func IsCommit(text string) bool { return (len(text) == 40 || len(text) == 64) && isHex(text) }

// IsAbbreviated tells whether text can be the beginning of a commit ID.
func IsAbbreviated(text string) bool { return len(text) >= 4 && len(text) < 40 && isHex(text) }

func isHex(text string) bool { return text != "" && strings.Trim(text, "0123456789abcdef") == "" }

func gitSchemes() []string { return []string{"https", "http", "git", "ssh", "file"} }

func isWeb(scheme string) bool { return scheme == "http" || scheme == "https" }

// endsInGit tells whether the URL's path ends in ".git". A text that isn't a URL doesn't; build/fetch refuses it later,
// as the URL of a file.
func endsInGit(text string) bool {
	u, err := url.Parse(text)
	return err == nil && strings.HasSuffix(u.Path, ".git")
}

func parseURL(scheme, text string) (Git, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Git{}, urlError(err)
	}
	g := Git{Scheme: scheme, Host: u.Host}
	g.fragment(u.Fragment)
	query := u.RawQuery
	u.Scheme, u.Fragment, u.RawFragment, u.RawQuery, u.ForceQuery = scheme, "", "", "", false
	g.Remote = u.String()
	err = g.query(query) // writes fields of g: called before the return reads g
	return g, err
}

// urlError gives the error of url.Parse without the URL, which may hold credentials.
func urlError(err error) error {
	if e := new(url.Error); errors.As(err, &e) {
		err = e.Err
	}
	if strings.Contains(err.Error(), "userinfo") || strings.Contains(err.Error(), "invalid port") {
		return errors.New("it is not a valid URL: check the part before the host's path")
	}
	return err
}

// parseSCP reads USER@HOST:PATH, git's short form of an ssh URL.
func parseSCP(text string) (g Git, ok bool, err error) {
	user, rest, hasUser := strings.Cut(text, "@")
	host, where, hasPath := strings.Cut(rest, ":")
	const word = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	if !hasUser || !hasPath || user == "" || host == "" || strings.Trim(user, word+"_") != "" ||
		strings.Trim(host, word+".") != "" {
		return Git{}, false, nil
	}
	if strings.HasPrefix(where, "//") {
		return Git{}, false, nil // a URL without its scheme
	}
	where, fragment, _ := strings.Cut(where, "#")
	where, query, _ := strings.Cut(where, "?")
	g = Git{Scheme: "ssh", Host: host, Remote: user + "@" + host + ":" + where}
	g.fragment(fragment)
	err = g.query(query) // writes fields of g: called before the return reads g
	return g, true, err
}

// fragment sets Ref and Subdir from the fragment of a URL: REF:SUBDIR.
func (g *Git) fragment(text string) {
	ref, dir, _ := strings.Cut(text, ":")
	g.Ref, g.Subdir = ref, cleanDir(dir)
}

func cleanDir(dir string) string { return strings.TrimPrefix(path.Join("/", dir), "/") }

// query sets fields from the query of a URL: ref=, tag=, branch=, commit=, checksum=, subdir=, keep-git-dir=,
// submodules=, mtime= and fetch-by-commit=.
func (g *Git) query(raw string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("the query can't be read")
	}
	refs := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) > 1 {
			return fmt.Errorf("%s= is given more than once", name)
		}
		if err := g.option(name, values[name][0], refs); err != nil {
			return err
		}
	}
	return g.nameRef(refs)
}

// option sets the field of one parameter of the query. ref=, tag= and branch= are only collected in refs, by name, for
// nameRef.
func (g *Git) option(name, value string, refs map[string]string) (err error) {
	switch name {
	case "keep-git-dir":
		g.KeepGitDir, err = parseSwitch(name, value)
		return err
	case "submodules":
		g.Submodules, err = parseSwitch(name, value)
		return err
	case "fetch-by-commit":
		var on *bool
		if on, err = parseSwitch(name, value); err == nil {
			g.ByCommit = *on
		}
		return err
	}

	if value == "" {
		return fmt.Errorf("%s= has no value", name)
	}
	switch name {
	case "ref", "tag", "branch":
		refs[name] = value
	case "commit", "checksum":
		if g.Checksum != "" && g.Checksum != strings.ToLower(value) {
			return errors.New("commit= and checksum= contradict each other")
		}
		g.Checksum = strings.ToLower(value)
	case "subdir":
		dir := cleanDir(value)
		if g.Subdir != "" && g.Subdir != dir {
			return fmt.Errorf("subdir=%s contradicts :%s", value, g.Subdir)
		}
		g.Subdir = dir
	case "mtime":
		if value != "checkout" && value != "commit" {
			return fmt.Errorf("mtime=%s must be checkout or commit", value)
		}
		g.CommitTimes = value == "commit"
	default:
		return fmt.Errorf("unknown parameter %s=: there are ref, tag, branch, commit, checksum, subdir, keep-git-dir, submodules, "+
			"mtime and fetch-by-commit", name)
	}

	return nil
}

// nameRef sets Ref from ref=, tag= and branch=, which must contradict neither each other nor the ref of the fragment.
func (g *Git) nameRef(refs map[string]string) error {
	for _, kind := range []struct{ name, prefix string }{{"ref", ""}, {"tag", "refs/tags/"}, {"branch", "refs/heads/"}} {
		value, given := refs[kind.name]
		if !given {
			continue
		}
		full := kind.prefix + strings.TrimPrefix(value, kind.prefix)
		if g.Ref != "" && g.Ref != full {
			return fmt.Errorf("%s=%s contradicts %s", kind.name, value, g.Ref)
		}
		g.Ref = full
	}
	return nil
}

func parseSwitch(name, value string) (*bool, error) {
	on := true
	if value != "" {
		var err error
		if on, err = strconv.ParseBool(value); err != nil {
			return nil, fmt.Errorf("%s=%s must be true or false", name, value)
		}
	}
	return &on, nil
}

// check refuses a reference that git could take for an option, or whose parts contradict each other.
func (g *Git) check() error {
	_, where, _ := strings.Cut(g.Remote, ":")
	host := g.Host
	switch {
	case strings.ContainsFunc(g.Remote+g.Ref+g.Subdir, unicode.IsControl):
		return errors.New("it holds control characters")
	case g.Scheme != "file" && host == "":
		return errors.New("it names no host")
	case strings.HasPrefix(host, "-"), strings.HasPrefix(g.Remote, "-"), strings.HasPrefix(where, "-"):
		return errors.New("host and path can't begin with a dash")
	case g.Scheme == "file" && host != "" && host != "localhost":
		return fmt.Errorf("file:// takes an absolute path: file:///%s", host)
	case g.ByCommit && !IsCommit(g.Checksum) && !IsCommit(g.Ref):
		return errors.New("fetch-by-commit needs checksum= with a full commit ID")
	case g.Checksum != "" && !isHex(g.Checksum), len(g.Checksum) > 64:
		return fmt.Errorf("the checksum %s isn't a commit ID, nor the beginning of one", g.Checksum)
	}
	return CheckRef(g.Ref)
}

// CheckRef refuses a ref that git's rules don't allow, https://git-scm.com/docs/git-check-ref-format. Empty is allowed.
func CheckRef(ref string) error {
	bad := strings.HasPrefix(ref, "-") || strings.ContainsAny(ref, " ~^:?*[\\\x7f") ||
		strings.ContainsFunc(ref, unicode.IsControl)
	for _, part := range []string{"..", "@{", "//", "/."} {
		bad = bad || strings.Contains(ref, part)
	}
	if bad || strings.HasSuffix(ref, "/") || strings.HasSuffix(ref, ".lock") || strings.HasPrefix(ref, "/") || ref == "@" {
		return fmt.Errorf("%q can't be the name of a branch, tag or commit", ref)
	}
	return nil
}

// ParseSubmodule reads the URL of a submodule as .gitmodules gives it. A URL that begins with ./ or ../ is relative to
// that of holder, the repository with the .gitmodules. https://git-scm.com/docs/gitmodules
func ParseSubmodule(holder Git, text string) (Git, error) {
	full := text
	if strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		full = join(holder.Remote, text)
	}
	scheme, _, hasScheme := strings.Cut(full, "://")
	scheme = strings.ToLower(scheme)
	var g Git
	err := errors.New("it is none of https, http, ssh, git and file")
	if hasScheme && slices.Contains(gitSchemes(), scheme) {
		g, err = parseRemote(scheme, full)
	} else if scp, ok, scpErr := parseSCP(full); ok && !strings.Contains(full, "::") {
		g, err = scp, scpErr
	}
	if err == nil {
		err = g.check()
	}
	if err != nil {
		return Git{}, fmt.Errorf("submodule URL %s: %w", Redact(text), err)
	}
	return g, nil
}

// parseRemote reads the URL of a repository, whose query and fragment, if any, are part of it.
func parseRemote(scheme, text string) (Git, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Git{}, urlError(err)
	}
	return Git{Scheme: scheme, Host: u.Host, Remote: text}, nil
}

// join resolves a relative URL as git does: each "../" takes the last component off the text of remote, but never the
// host.
func join(remote, relative string) string {
	remote = strings.TrimRight(remote, "/")
	separator := "/"
	for {
		var ok bool
		if relative, ok = strings.CutPrefix(relative, "./"); ok {
			continue
		}
		if relative, ok = strings.CutPrefix(relative, "../"); !ok {
			return strings.TrimSuffix(remote, "/") + separator + relative
		}
		at := strings.LastIndexByte(remote, '/')
		separator = "/"
		if at < 0 {
			at = strings.LastIndexByte(remote, ':')
			separator = ":"
		}
		if at < 0 || strings.HasSuffix(remote[:at+1], "://") {
			separator = "/" // no further than the host
			continue
		}
		remote = remote[:at]
	}
}
