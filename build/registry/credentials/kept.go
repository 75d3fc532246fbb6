package credentials

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/homedir"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/internal/guard"
)

// ErrNotLoggedIn says that there are no credentials to forget.
var ErrNotLoggedIn = config.ErrNotLoggedIn

// File says where credentials are kept. The zero value is where podman keeps the user's.
type File struct {
	// Path is a file of podman's kind, DockerPath one of docker's; at most one of them is set.
	Path, DockerPath string
}

// system is the configuration of the library for this file.
func (f File) system() *types.SystemContext {
	s := &types.SystemContext{AuthFilePath: f.Path, DockerCompatAuthFilePath: f.DockerPath}
	if f.Path == "" && f.DockerPath == "" {
		s.AuthFilePath = os.Getenv("REGISTRY_AUTH_FILE")
	}
	if s.AuthFilePath == "" && f.DockerPath == "" && os.Getuid() != 0 && os.Getenv("XDG_RUNTIME_DIR") == "" {
		// Without XDG_RUNTIME_DIR there is no directory for run-time files, and cooper must not make one. The next place
		// that is searched also keeps its files longer.
		home := os.Getenv("XDG_CONFIG_HOME")
		if home == "" {
			home = filepath.Join(homedir.Get(), ".config")
		}
		s.AuthFilePath = filepath.Join(home, "containers", "auth.json")
	}
	return s
}

// written is the configuration of the library for changes of this file. The library would put a file in the place of a
// symbolic link; so the link is followed, as docker does. shown is the path that the library would have said, by the
// one that it says now.
func (f File) written() (s *types.SystemContext, shown map[string]string) {
	s, shown = f.system(), map[string]string{}
	path, of := s.AuthFilePath, &s.AuthFilePath
	switch dir := os.Getenv("XDG_RUNTIME_DIR"); {
	case s.DockerCompatAuthFilePath != "":
		path, of = s.DockerCompatAuthFilePath, &s.DockerCompatAuthFilePath
	case path == "" && dir != "":
		path = filepath.Join(dir, "containers", "auth.json")
	case path == "":
		path = fmt.Sprintf("/run/containers/%d/auth.json", os.Getuid())
	}
	if at := target(path); at != path {
		*of, shown[at] = at, path
	}
	return s, shown
}

// maxLinks is how many symbolic links the kernel follows.
const maxLinks = 40

// target is the path of the file that a path leads to, which need not exist.
func target(path string) string {
	for range maxLinks {
		link, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(link) {
			link = filepath.Dir(path) + "/" + link
		}
		path = link
		// In the directory ".." may follow a link, so that what is before it can't be left out.
		if dir, err := filepath.EvalSymlinks(link[:strings.LastIndexByte(link, '/')+1]); err == nil {
			path = filepath.Join(dir, link[strings.LastIndexByte(link, '/')+1:])
		}
	}
	return path
}

// Key is the key under which credentials for a registry are kept: HOST[:PORT], or HOST[:PORT]/NAMESPACE.
func Key(text string) (string, error) {
	key := strings.TrimPrefix(strings.TrimPrefix(text, "https://"), "http://")
	for _, end := range []string{"/", "/v1", "/v2"} {
		key = strings.TrimSuffix(key, end)
	}
	if key == "index."+hub {
		key = hub
	}
	ref, err := reference.ParseBare(key + "/x")
	if err != nil || ref.Domain == "" || !ref.HasRegistry() {
		text = text[strings.LastIndexByte(text, '@')+1:] // there may be a password before it
		return "", fmt.Errorf("%q is not a registry: must be HOST[:PORT], as in registry.example.com:5000", text)
	}
	return key, nil
}

// Save keeps the credentials for a key in the file, whose path is where.
func Save(ctx context.Context, f File, key string, username, password string) (where string, err error) {
	system, shown := f.written()
	err = withHelpers(ctx, func() (err error) {
		where, err = config.SetCredentials(system, key, username, password)
		return err
	})
	if link, is := shown[where]; is {
		where = link
	}
	if err != nil {
		return "", fmt.Errorf("keep the credentials for %s: %w", key, err)
	}
	return where, nil
}

// Forget removes the credentials for a key, or all credentials if the key is empty. The error is ErrNotLoggedIn if
// the file has none of them.
func Forget(ctx context.Context, f File, key string) error {
	system, _ := f.written()
	err := withHelpers(ctx, func() error {
		if key == "" {
			return config.RemoveAllAuthentication(system)
		}
		return config.RemoveAuthentication(system, key)
	})
	if err != nil {
		return fmt.Errorf("forget the credentials for %s: %w", key, err)
	}
	return nil
}

// KnownUser is the user name in the credentials for a key; empty: there are none.
func KnownUser(ctx context.Context, f File, key string) (username string, err error) {
	file := f.Path
	if f.DockerPath != "" {
		file = f.DockerPath
	}
	c, err := Find(ctx, file, key)
	return c.Username, err
}

// withHelpers calls do, which may start credential helpers. Nothing can end a helper, so withHelpers returns without
// waiting for do when ctx ends or helperTimeout is over.
func withHelpers(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, helperTimeout, fmt.Errorf("no answer from a credential helper in %v",
		helperTimeout))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- guard.Call(do) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
