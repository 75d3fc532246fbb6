package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker-credential-helpers/client"
	helpers "github.com/docker/docker-credential-helpers/credentials"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/homedir"
	"go.podman.io/storage/pkg/unshare"
)

const (
	// hub is the registry that names without a registry mean.
	hub = "docker.io"
	// hubKey is the key of docker.io in Docker's files and helpers.
	hubKey = "https://index.docker.io/v1/"

	// helperTimeout is how long a helper may take: one may wait for a user who isn't there.
	helperTimeout = 30 * time.Second
)

// authFiles are the credential files in the order in which they are searched. One that the user names must exist.
func authFiles(named string) (paths []string, must bool) {
	if named == "" {
		named = os.Getenv("REGISTRY_AUTH_FILE")
	}
	if named != "" {
		return []string{named}, true
	}
	runtimeDir := filepath.Join("/run/containers", fmt.Sprint(unshare.GetRootlessUID()))
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		runtimeDir = filepath.Join(dir, "containers")
	}
	home := homedir.Get()
	config := os.Getenv("XDG_CONFIG_HOME")
	if config == "" {
		config = filepath.Join(home, ".config")
	}
	docker := os.Getenv("DOCKER_CONFIG")
	if docker == "" {
		docker = filepath.Join(home, ".docker")
	}
	return []string{
		filepath.Join(runtimeDir, "auth.json"), filepath.Join(config, "containers", "auth.json"),
		filepath.Join(docker, "config.json"),
	}, false
}

// CheckFile returns an error if a credential file that the user named doesn't exist.
func CheckFile(named string) error {
	paths, must := authFiles(named)
	if !must {
		return nil
	}
	if _, err := os.Stat(paths[0]); err != nil {
		return fmt.Errorf("credentials file: %w", err)
	}
	return nil
}

// Check reads the credential files that a pull would, and asks no helper. It returns an error for each faulty file, in
// the order in which they are read; errors name the path.
func Check(named string) []error {
	var found []error
	if err := CheckFile(named); err != nil {
		found = append(found, err)
	}
	paths, _ := authFiles(named)
	for _, path := range paths {
		if _, err := readHelpers(path); err != nil {
			found = append(found, err)
		}
	}
	return found
}

// Credential is a user name with a password, or an identity token; the zero value has neither.
type Credential struct {
	Username, Password string
	// Identity is an identity token, which a token server takes instead of a password.
	Identity string
}

// Find finds the credential for a repository, HOST/PATH. The result is the zero credential if no file or
// helper has one.
func Find(ctx context.Context, file, repository string) (Credential, error) {
	found := make(chan Credential, 1) // has room for one, as the receiver may have given up
	err := withHelpers(ctx, func() error {
		c, err := lookUp(file, repository)
		found <- c
		return err
	})
	if err != nil {
		return Credential{}, fmt.Errorf("look up credentials for %s: %w", repository, err)
	}
	return <-found, nil
}

// lookUp asks the library for each file by itself, since one of the default files may be unreadable for the user:
// without XDG_RUNTIME_DIR the library takes root's directory for a user who is root in a user namespace. The first file
// that has a credential counts.
func lookUp(file, repository string) (Credential, error) {
	paths, must := authFiles(file)
	present := slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
	if len(present) == 0 {
		present = paths[:1] // the helpers that registries.conf names are to be asked in any case
	}
	var failed error
	for _, path := range present {
		found, err := config.GetCredentials(&types.SystemContext{AuthFilePath: path}, repository)
		if err == nil && found == (types.DockerAuthConfig{}) {
			found, err = askDockerStore(path, repository)
		}
		switch {
		case err == nil && found != (types.DockerAuthConfig{}):
			return Credential{Username: found.Username, Password: found.Password, Identity: found.IdentityToken}, nil
		case !must && errors.Is(err, fs.ErrPermission):
		case failed == nil && err != nil && !strings.Contains(err.Error(), path):
			failed = fmt.Errorf("%s: %w", path, err)
		case failed == nil:
			failed = err
		}
	}
	return Credential{}, failed
}

// helpersOf is the part of a credential file that names helpers. Its other fields are there only so that a malformed
// file is noticed.
type helpersOf struct {
	Auths       map[string]struct{ Auth, IdentityToken string } `json:"auths"`
	CredHelpers map[string]string                               `json:"credHelpers"`
	CredsStore  string                                          `json:"credsStore"`
}

func readHelpers(path string) (helpersOf, error) {
	var f helpersOf
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return f, fmt.Errorf("read credentials of %s: %w", path, err)
	}
	return f, nil
}

// askDockerStore asks a helper that docker asks and podman doesn't: the one for the whole file, or the one listed for
// docker.io under docker's own key for it.
func askDockerStore(path, repository string) (types.DockerAuthConfig, error) {
	var none types.DockerAuthConfig
	f, err := readHelpers(path)
	if err != nil {
		return none, err
	}
	key, _, _ := strings.Cut(repository, "/")
	helper := f.CredsStore
	if key == hub {
		key = hubKey
		if own := f.CredHelpers[key]; own != "" {
			helper = own
		}
	}
	if helper == "" {
		return none, nil
	}
	program := "docker-credential-" + helper
	if _, err := exec.LookPath(program); err != nil {
		// Docker Desktop leaves its helper's name in files that are used where the helper isn't.
		return none, nil //nolint:nilerr // a file whose helper is missing counts as empty
	}
	got, err := client.Get(client.NewShellProgramFunc(program), key)
	switch {
	case helpers.IsErrCredentialsNotFound(err):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("%s, which %s names: %w", program, path, err)
	case got.Username == "<token>":
		return types.DockerAuthConfig{IdentityToken: got.Secret}, nil
	}
	return types.DockerAuthConfig{Username: got.Username, Password: got.Secret}, nil
}
