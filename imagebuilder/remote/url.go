package remote

import (
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
)

// mask is shown in place of each part of a credential.
const mask = "xxxxx"

// IsHTTP tells whether a source is the URL of a file to be downloaded, and not a repository.
func IsHTTP(text string) bool {
	if !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
		return false
	}
	_, isGit, _ := ParseGit(text)
	return !isGit
}

// FileName is the name a URL gives its file: the last component of its path, "" if it has none.
func FileName(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return SafeName(path.Base(u.Path))
}

// SafeName gives the last component of name, if that can be the name of a file in a directory, and "" otherwise.
func SafeName(name string) string {
	name = path.Base(strings.TrimSpace(name))
	if name == "." || name == ".." || name == "/" || strings.ContainsFunc(name, unicode.IsControl) {
		return ""
	}
	return name
}

// RedactError is the error with the credentials of every URL in its text masked.
func RedactError(err error) error { return redactedError{err} }

// redactedError is an error that shows no credentials.
type redactedError struct{ err error }

func (e redactedError) Error() string { return Redact(e.err.Error()) }

func (e redactedError) Unwrap() error { return e.err }

// Redact masks the credentials of every URL in a text. Of USER:PASSWORD@ it masks both parts. It masks USER@ without a
// password too, which may be a token, except in an ssh URL, where it is a login name.
func Redact(text string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "://")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		out.WriteString("://")
		end := strings.IndexFunc(rest, func(r rune) bool {
			return strings.ContainsRune("/?#\"'`<>\\", r) || unicode.IsSpace(r)
		})
		if end < 0 {
			end = len(rest)
		}
		authority := rest[:end]
		text = rest[end:]
		at := strings.LastIndexByte(authority, '@')
		if at < 0 {
			out.WriteString(authority)
			continue
		}
		out.WriteString(maskUser(before, authority[:at]) + authority[at:])
	}
}

func maskUser(before, user string) string {
	name, _, hasPassword := strings.Cut(user, ":")
	isSSH := strings.HasSuffix(strings.ToLower(before), "ssh")
	switch {
	case user == "":
		return ""
	case isSSH && !hasPassword:
		return name
	case hasPassword:
		return mask + ":" + mask
	}
	return mask
}

// CheckDigest refuses a checksum that isn't ALGORITHM:HEX with sha256, sha384 or sha512.
func CheckDigest(checksum string) error {
	algorithm, hexadecimal, _ := strings.Cut(checksum, ":")
	size := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]
	if size == 0 || len(hexadecimal) != size || !isHex(hexadecimal) {
		return fmt.Errorf("the checksum %s must be sha256:, sha384: or sha512: and 64, 96 or 128 hexadecimal digits in lower case", checksum)
	}
	return nil
}
