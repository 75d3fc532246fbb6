package reference

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// What can be wrong with a name.
var (
	ErrFormat    = errors.New("invalid reference format")
	ErrUppercase = errors.New("repository name must be lowercase")
	ErrEmpty     = errors.New("repository name must have at least one component")
	ErrTooLong   = fmt.Errorf("repository name must not be more than %d characters", maxPath)
)

const (
	maxPath = 255
	maxTag  = 128

	localhost   = "localhost"
	dockerHub   = "docker.io"
	legacyHub   = "index.docker.io"
	hubOfficial = "library/"
	latest      = "latest"
)

// Reference is an image name in its parts. A valid one has a Path; each of the others may be empty.
type Reference struct {
	// Domain is HOST or HOST:PORT of the registry.
	Domain string
	// Path is the repository's name in that registry.
	Path   string
	Tag    string
	Digest digest.Digest
}

// Name is the reference without tag and digest.
func (r Reference) Name() string {
	if r.Domain == "" {
		return r.Path
	}
	return r.Domain + "/" + r.Path
}

func (r Reference) String() string {
	text := r.Name()
	if r.Tag != "" {
		text += ":" + r.Tag
	}
	if r.Digest != "" {
		text += "@" + r.Digest.String()
	}
	return text
}

// Familiar gives the reference as people write it: without docker.io/ and library/.
func (r Reference) Familiar() string {
	if r.Domain == dockerHub {
		r.Domain = ""
		if official, ok := strings.CutPrefix(r.Path, hubOfficial); ok && !strings.Contains(official, "/") {
			r.Path = official
		}
	}
	return r.String()
}

// Repository is the reference with neither tag nor digest.
func (r Reference) Repository() Reference { return Reference{Domain: r.Domain, Path: r.Path} }

// WithLatest is the reference with the tag "latest" if it has neither tag nor digest.
func (r Reference) WithLatest() Reference {
	if r.Tag == "" && r.Digest == "" {
		r.Tag = latest
	}
	return r
}

// HasRegistry tells whether the domain is a registry's host, as in "a.b/c" and "localhost/c". The "a" of "a/c" isn't:
// it is the first component of a path in the registry with which the name is completed.
func (r Reference) HasRegistry() bool {
	return strings.ContainsAny(r.Domain, ".:") || r.Domain == localhost
}

// Parse reads a name and completes it as Docker does: alpine is docker.io/library/alpine. No tag is added.
func Parse(s string) (Reference, error) {
	if len(s) == 64 && isAll(s, isLowerHex) {
		return Reference{}, fmt.Errorf("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s)
	}
	domain, rest := splitHub(s)
	remote, _, _ := strings.Cut(rest, ":")
	if strings.ToLower(remote) != remote {
		return Reference{}, fmt.Errorf("%w: repository name (%s) must be lowercase", ErrFormat, remote)
	}
	return ParseBare(domain + "/" + rest)
}

// splitHub splits a name into registry and path. A name without a registry is one of Docker Hub, whose official images
// have paths in library/.
func splitHub(name string) (domain, rest string) {
	first, after, slash := strings.Cut(name, "/")
	switch {
	case !slash:
		return dockerHub, hubOfficial + name
	case first == localhost, strings.ContainsAny(first, ".:"), strings.ToLower(first) != first:
		domain, rest = first, after
		if domain == legacyHub {
			domain = dockerHub
		}
	default:
		domain, rest = dockerHub, name
	}
	if domain == dockerHub && !strings.Contains(rest, "/") {
		rest = hubOfficial + rest
	}
	return domain, rest
}

// ParseBare reads a name and completes nothing. The first of several components is the domain if it can be a host name:
// the domain of a/b is a.
func ParseBare(s string) (Reference, error) {
	r, ok := split(s)
	if !ok {
		if s == "" {
			return Reference{}, ErrEmpty
		}
		if _, lower := split(strings.ToLower(s)); lower {
			return Reference{}, ErrUppercase
		}
		return Reference{}, ErrFormat
	}
	if len(r.Path) > maxPath {
		return Reference{}, ErrTooLong
	}
	if r.Digest != "" {
		if err := r.Digest.Validate(); err != nil {
			return Reference{}, err
		}
	}
	return r, nil
}

// split applies the grammar: [DOMAIN/]PATH[:TAG][@DIGEST].
func split(s string) (Reference, bool) {
	var r Reference
	name, d, digested := strings.Cut(s, "@")
	if digested {
		if !isDigest(d) {
			return r, false
		}
		r.Digest = digest.Digest(d)
	}
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		if r.Tag = name[colon+1:]; !isTag(r.Tag) {
			return r, false
		}
		name = name[:colon]
	}
	first, rest, slash := strings.Cut(name, "/")
	if slash && isDomain(first) && isPath(rest) {
		r.Domain, r.Path = first, rest
		return r, true
	}
	r.Path = name
	return r, isPath(name)
}

// isPath tells whether s is a repository's name: components of [a-z0-9]+ joined by one of "." "_" "__" or any number of
// "-".
func isPath(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

func isComponent(s string) bool {
	separator := ""
	for i := range len(s) {
		c := s[i]
		switch {
		case isLower(c) || isDigit(c):
			separator = ""
			continue
		case i == 0:
			return false
		case c == '-' && strings.Trim(separator, "-") == "":
		case c == '_' && (separator == "" || separator == "_"):
		case c == '.' && separator == "":
		default:
			return false
		}
		separator += string(c)
	}
	return s != "" && separator == ""
}

// isDomain tells whether s is a host name, an IPv4 address or an IPv6 address in brackets, with or without a port.
func isDomain(s string) bool {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 2 || !isAll(s[1:end], func(c byte) bool { return isHex(c) || c == ':' }) {
			return false
		}
		if s[end+1:] == "" {
			return true
		}
		after, ok := strings.CutPrefix(s[end+1:], ":")
		return ok && after != "" && isAll(after, isDigit)
	}
	host, port, hasPort := strings.Cut(s, ":")
	if hasPort && (port == "" || !isAll(port, isDigit)) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		inner := isAll(label, func(c byte) bool { return isAlphanumeric(c) || c == '-' })
		if label == "" || !inner || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

func isTag(s string) bool {
	return s != "" && len(s) <= maxTag && s[0] != '.' && s[0] != '-' &&
		isAll(s, func(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '.' || c == '-' })
}

// isDigest tells whether s is ALGORITHM:HEX, with parts of the algorithm's name joined by one of "+._-" and at least 32
// digits.
func isDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || len(hex) < 32 || !isAll(hex, isHex) {
		return false
	}
	start := true
	for i := range len(algorithm) {
		c := algorithm[i]
		switch {
		case isLetter(c), isDigit(c) && !start:
			start = false
		case strings.IndexByte("+._-", c) >= 0 && !start:
			start = true
		default:
			return false
		}
	}
	return !start
}

func isAll(s string, is func(c byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

func isLower(c byte) bool        { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool        { return '0' <= c && c <= '9' }
func isLetter(c byte) bool       { return isLower(c) || 'A' <= c && c <= 'Z' }
func isAlphanumeric(c byte) bool { return isLetter(c) || isDigit(c) }
func isLowerHex(c byte) bool     { return isDigit(c) || 'a' <= c && c <= 'f' }
func isHex(c byte) bool          { return isLowerHex(c) || 'A' <= c && c <= 'F' }

// IsID tells whether a text is the ID of an image, 64 hex digits, which no name can be.
func IsID(s string) bool {
	return len(s) == 64 && isAll(s, func(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' })
}
