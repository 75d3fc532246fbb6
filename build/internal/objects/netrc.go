package objects

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxNetrc is how many bytes of a netrc file are read.
const maxNetrc = 1 << 20

// netrc looks for a user and a password for a host in $NETRC or ~/.netrc, as curl and git do. Without an entry both are
// empty.
func netrc(host string) (user, password string, err error) {
	path := os.Getenv("NETRC")
	if path == "" {
		path = filepath.Join(os.Getenv("HOME"), ".netrc")
	}
	text, err := readFile(path, maxNetrc)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	user, password = credentialOf(text, host)
	return user, password, nil
}

// credentialOf reads a netrc file: words in which "machine NAME" or "default" begins an entry.
func credentialOf(text, host string) (user, password string) {
	words, ours := strings.Fields(text), false
	for i := 0; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch words[i] {
		case "machine", "default":
			if ours {
				return user, password // the first entry counts
			}
			if ours = words[i] == "default" || value == host; words[i] == "default" {
				continue
			}
		case "login":
			if ours {
				user = value
			}
		case "password":
			if ours {
				password = value
			}
		case "account":
		case "macdef": // it ends with an empty line, which can't be told here: nothing of use comes after it
			return user, password
		default:
			continue
		}
		i++
	}
	return user, password
}

// readFile reads a file of the user that has at most limit bytes.
func readFile(path string, limit int64) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return "", fmt.Errorf("%s is no file of at most %d bytes", path, limit)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}
