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
	err = withHelpers(ctx, func() (err error) {
		where, err = config.SetCredentials(f.system(), key, username, password)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("keep the credentials for %s: %w", key, err)
	}
	return where, nil
}

// Forget removes the credentials for a key, or all credentials if the key is empty. The error is ErrNotLoggedIn if
// the file has none of them.
func Forget(ctx context.Context, f File, key string) error {
	err := withHelpers(ctx, func() error {
		if key == "" {
			return config.RemoveAllAuthentication(f.system())
		}
		return config.RemoveAuthentication(f.system(), key)
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
