package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go.podman.io/storage/pkg/homedir"
	"go.podman.io/storage/pkg/unshare"
)

const (
	// helperAuthFile in credential-helpers of registries.conf stands for the credential files.
	helperAuthFile = "containers-auth.json"
	// hubKey is the key of docker.io in Docker's files and helpers.
	hubKey = "https://index.docker.io/v1/"

	// maxAuthFile bounds credential files and what helpers print, in bytes.
	maxAuthFile = 4 << 20
	// helperTimeout is for a helper that waits for somebody who isn't there.
	helperTimeout = 30 * time.Second
)

// authFile is the text of auth.json or Docker's config.json. See containers-auth.json(5).
type authFile struct {
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
	CredsStore  string               `json:"credsStore"`
}

type authEntry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

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
		filepath.Join(runtimeDir, "auth.json"), filepath.Join(config, "containers", "auth.json"), filepath.Join(docker, "config.json"),
	}, false
}

// checkAuthFile says at once that a file the user named isn't there.
func checkAuthFile(named string) error {
	paths, must := authFiles(named)
	if !must {
		return nil
	}
	if _, err := os.Stat(paths[0]); err != nil {
		return fmt.Errorf("credentials file: %w", err)
	}
	return nil
}

// CheckFiles reads everything that says how to reach registries, as a pull would, and asks nobody: registries.conf, policy.json
// and the credential files. It gives what is wrong by the name of the file, in the order in which they are read.
func CheckFiles(authFile string) []FileProblem {
	var found []FileProblem
	if _, err := LoadConfig(); err != nil {
		found = append(found, FileProblem{"registries.conf", err})
	}
	if _, err := LoadPolicy(); err != nil {
		found = append(found, FileProblem{"policy.json", err})
	}
	if err := checkAuthFile(authFile); err != nil {
		found = append(found, FileProblem{"auth.json", err})
	}
	paths, _ := authFiles(authFile)
	for _, path := range paths {
		if _, err := readAuthFile(path); err != nil {
			found = append(found, FileProblem{"auth.json", err})
		}
	}
	return found
}

// FileProblem is a file that can't be read or understood; Err names its path.
type FileProblem struct {
	Name string
	Err  error
}

// findCredential finds what to log in with for a repository, HOST/PATH. The empty credential means that nothing is known.
func (c *Config) findCredential(ctx context.Context, file, repository string) (credential, error) {
	host, _, _ := strings.Cut(repository, "/")
	var errs []error
	for _, helper := range c.helpers {
		var found credential
		var err error
		if helper == helperAuthFile {
			found, err = credentialInFiles(ctx, file, repository)
		} else {
			found, err = askHelper(ctx, helper, host)
		}
		if err == nil && found != (credential{}) {
			return found, nil
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return credential{}, fmt.Errorf("look up credentials for %s: %w", repository, err)
	}
	return credential{}, nil
}

func credentialInFiles(ctx context.Context, file, repository string) (credential, error) {
	paths, _ := authFiles(file)
	for _, path := range paths {
		f, err := readAuthFile(path)
		if err != nil {
			return credential{}, err
		}
		found, err := f.find(ctx, repository)
		if err != nil {
			return credential{}, fmt.Errorf("%s: %w", path, err)
		}
		if found != (credential{}) {
			return found, nil
		}
	}
	return credential{}, nil
}

func readAuthFile(path string) (authFile, error) {
	var f authFile
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("read credentials: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxAuthFile))
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return f, fmt.Errorf("read credentials of %s: %w", path, err)
	}
	return f, nil
}

// find looks a repository up: helpers by its host, then entries by the longest part of its name.
func (f *authFile) find(ctx context.Context, repository string) (credential, error) {
	host, _, _ := strings.Cut(repository, "/")
	keys := []string{host}
	if canonicalHost(host) == canonicalHost(hub) {
		keys = []string{host, hubKey, "index.docker.io"}
	}
	for _, key := range keys {
		if helper := f.CredHelpers[key]; helper != "" {
			return askHelper(ctx, helper, key)
		}
	}
	if f.CredsStore != "" {
		found, err := askHelper(ctx, f.CredsStore, keys[min(1, len(keys)-1)])
		if err == nil && found != (credential{}) {
			return found, nil
		}
		// Docker Desktop leaves its helper's name in files that are used where the helper isn't.
		if err != nil && !errors.Is(err, exec.ErrNotFound) {
			return found, err
		}
	}
	for name := repository; ; {
		if entry, ok := f.Auths[name]; ok {
			return entry.credential()
		}
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			break
		}
		name = name[:slash]
	}
	for key, entry := range f.Auths {
		if canonicalHost(key) == canonicalHost(host) {
			return entry.credential()
		}
	}
	return credential{}, nil
}

// canonicalHost is the host of a key of an auth file, which may be a URL; docker.io has several names. A key for a part of
// a registry stays what it is.
func canonicalHost(key string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(key, scheme); ok {
			key, _, _ = strings.Cut(rest, "/")
		}
	}
	if key == hub || key == hubHost {
		return "index.docker.io"
	}
	return key
}

func (e authEntry) credential() (credential, error) {
	c := credential{username: e.Username, password: e.Password, identity: e.IdentityToken, registry: e.RegistryToken}
	if e.Auth == "" {
		return c, nil
	}
	text, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		return credential{}, errors.New("an \"auth\" is not base64")
	}
	user, password, ok := strings.Cut(string(text), ":")
	if !ok {
		return c, nil
	}
	c.username, c.password = user, strings.TrimRight(password, "\x00")
	return c, nil
}

// askHelper runs docker-credential-HELPER, https://github.com/docker/docker-credential-helpers.
func askHelper(ctx context.Context, helper, host string) (credential, error) {
	if helper == "" || strings.ContainsAny(helper, "/\x00") {
		return credential{}, fmt.Errorf("credential helper %q: must be a name", helper)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	var out, errs limitedBuffer
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, "get")
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = strings.NewReader(host), &out, &errs, time.Second
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(out.String() + errs.String())
		if strings.Contains(said, "credentials not found in native keychain") {
			return credential{}, nil
		}
		return credential{}, fmt.Errorf("docker-credential-%s: %w: %s", helper, err, clip(said))
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return credential{}, fmt.Errorf("docker-credential-%s: its answer is not JSON", helper)
	}
	if answer.Username == "<token>" {
		return credential{identity: answer.Secret}, nil
	}
	return credential{username: answer.Username, password: answer.Secret}, nil
}

// limitedBuffer keeps the first bytes of what is written to it.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxAuthFile - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
