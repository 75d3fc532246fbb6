package git

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// repo is a remote repository, and the bare one on the shelf that holds what has been fetched from it.
type repo struct {
	room *Room
	r    Request
	// url is the address of the remote, without the credentials that go into the Authorization header.
	url string
	// auth is the value of the Authorization header; empty: none. hide are all secrets in plain text, to be kept out
	// of errors.
	auth string
	hide []string
	// id stands for the remote in the keys of entries.
	id string
	// path is the directory of a file:// repository; empty for any other.
	path string
	// config is the path of the configuration file that newRepo has written for git.
	config string
	// dir is the path of the bare repository on the shelf; open sets it.
	dir string
}

// newRepo prepares for a request; temp is a directory for files that go with it. top is the repository that the user or
// the Dockerfile names, of which this one may be a submodule.
func (room *Room) newRepo(r Request, top remote.Git, temp string) (*repo, error) {
	s := &repo{room: room, r: r, url: r.Ref.Remote, id: shelf.Key(r.Ref.Remote)}
	switch r.Ref.Scheme {
	case "https", "http":
		u, err := url.Parse(r.Ref.Remote)
		if err != nil {
			return nil, fmt.Errorf("%s: not a valid URL", r.Ref)
		}
		s.auth = gitAuthorization(u, r.Secrets, top)
		if u.User != nil {
			password, has := u.User.Password()
			if !has {
				password = u.User.Username() // a user name alone is a token
			}
			s.hide = append(s.hide, password)
		}
		if s.auth != "" {
			_, value, _ := strings.Cut(s.auth, " ")
			s.hide = append(s.hide, s.auth, value)
		}
		u.User = nil
		s.url = u.String()
	case "file":
		path, err := localPath(r.Ref.Remote, r.LocalDirs)
		if err != nil {
			return nil, err
		}
		s.url = "file://" + (&url.URL{Path: path}).EscapedPath()
		s.path = path
	}
	if err := s.writeConfig(temp); err != nil {
		return nil, err
	}
	return s, nil
}

// gitAuthorization is the header for a URL: from the secrets in BuildKit's order, or else from the URL itself. The
// secrets that name no host are for the host of the repository that was asked for, and not for its submodules' hosts.
func gitAuthorization(u *url.URL, secrets func(id string) (value []byte, ok bool), top remote.Git) string {
	suffixes := []string{"." + u.Host}
	if u.Host == top.Host && u.Scheme == top.Scheme {
		suffixes = append(suffixes, "")
	}
	for _, suffix := range suffixes {
		if secrets == nil {
			break
		}
		if v, ok := secrets("GIT_AUTH_HEADER" + suffix); ok {
			return strings.TrimSpace(string(v))
		}
		if v, ok := secrets("GIT_AUTH_TOKEN" + suffix); ok {
			return basicAuth("x-access-token", strings.TrimSpace(string(v)))
		}
	}
	if u.User == nil {
		return ""
	}
	password, _ := u.User.Password()
	return basicAuth(u.User.Username(), password)
}

// writeConfig writes the configuration that git reads instead of the user's. It is a file, and not an argument, because
// git starts another git at the other end of a file:// URL, which would not see arguments.
func (s *repo) writeConfig(temp string) error {
	text := `[core]
	fsync = all
	hooksPath = /dev/null
	fsmonitor = false
	logAllRefUpdates = false
	askPass =
[gc]
	auto = 0
[maintenance]
	auto = false
[init]
	defaultBranch = master
[advice]
	detachedHead = false
[fetch]
	recurseSubmodules = false
	writeCommitGraph = false
[submodule]
	recurse = false
[credential]
	helper =
`
	if s.auth != "" {
		// The header that the environment holds would go to whatever host a redirect names.
		text += "[http]\n\tfollowRedirects = false\n"
	}
	if s.path != "" {
		// Git would refuse a repository of another owner. Here the owner doesn't matter: the repository is only read, and
		// checkConfig has refused settings that could start programs.
		text += fmt.Sprintf("[safe]\n\tdirectory = %s\n", quoteConfig(s.path))
	}
	s.config = filepath.Join(temp, "gitconfig")
	return os.WriteFile(s.config, []byte(text), 0o600)
}

func quoteConfig(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(value) + `"`
}

// env is git's environment. protocols are the transports that may be used, with ":" between them.
func (s *repo) env(protocols string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=/dev/null", "TMPDIR=" + os.TempDir(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CONFIG_GLOBAL=" + s.config, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=" + protocols, "GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1",
		"GIT_OPTIONAL_LOCKS=0", "GIT_ADVICE=0", "GIT_SSH_COMMAND=" + s.sshCommand(), "GIT_SSH_VARIANT=ssh",
	}
	for _, name := range []string{
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	// The names that Go programs know, and what git calls them.
	for name, theirs := range map[string]string{"SSL_CERT_FILE": "GIT_SSL_CAINFO", "SSL_CERT_DIR": "GIT_SSL_CAPATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, theirs+"="+v)
		}
	}
	if s.r.SSHAuthSock != "" {
		env = append(env, "SSH_AUTH_SOCK="+s.r.SSHAuthSock)
	}
	if s.auth != "" {
		u, err := url.Parse(s.url)
		if err == nil {
			env = append(env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http."+u.Scheme+"://"+u.Host+"/.extraHeader",
				"GIT_CONFIG_VALUE_0=Authorization: "+s.auth)
		}
	}
	return env
}

// sshCommand runs ssh without any configuration, with the agent's keys alone, and refuses servers whose key isn't
// known. ssh looks the home directory up by user ID, which is root's in a user namespace, so
// every file that ssh looks for there is named in an option.
func (s *repo) sshCommand() string {
	options := []string{
		"BatchMode=yes", "StrictHostKeyChecking=yes", "IdentityFile=none", "UpdateHostKeys=no", "ForwardAgent=no",
		"ControlPath=none",
		"PermitLocalCommand=no", "ConnectTimeout=30", "ServerAliveInterval=15", "ServerAliveCountMax=4",
	}
	hosts := s.r.KnownHosts
	if len(hosts) == 0 {
		if home := os.Getenv("HOME"); home != "" {
			hosts = []string{filepath.Join(home, ".ssh/known_hosts"), filepath.Join(home, ".ssh/known_hosts2")}
		}
	}
	if len(hosts) > 0 {
		list := "UserKnownHostsFile="
		for _, h := range hosts {
			list += `"` + strings.ReplaceAll(h, "%", "%%") + `" `
		}
		options = append(options, strings.TrimSpace(list))
	}
	if s.r.SSHAuthSock == "" {
		options = append(options, "IdentityAgent=none")
	}
	if login := os.Getenv("USER"); login != "" && !strings.Contains(s.url, "@") {
		options = append(options, "User="+login) // in a user namespace ssh would take root for the login
	}
	command := "ssh -F none"
	for _, o := range options {
		command += " -o '" + strings.ReplaceAll(o, "'", `'\''`) + "'"
	}
	return command
}

// protocols are the transports that git may reach the remote by, with ":" between them.
func (s *repo) protocols() string {
	if s.r.Ref.Scheme == "file" {
		return "file"
	}
	return "https:http:ssh:git"
}

// git runs git on the bare repository and gives its output.
func (s *repo) git(ctx context.Context, args ...string) (string, error) {
	if s.dir != "" {
		args = append([]string{"--git-dir=" + s.dir}, args...)
	}
	var out limited
	cmd := command{
		program: s.room.Program, dir: s.room.kept.Path(), env: s.env(s.protocols()), args: args, stdout: &out, hide: s.hide,
	}
	err := cmd.run(ctx)
	return out.String(), s.explain(err)
}

// explain adds what to do about failures whose text doesn't say so.
func (s *repo) explain(err error) error {
	failed := new(gitError)
	if !errors.As(err, &failed) {
		return err
	}
	say := func(hint string) error { return fmt.Errorf("%w\nhint: %s", err, hint) }
	host := s.r.Ref.Host
	has := func(text string) bool { return strings.Contains(failed.stderr, text) }
	switch {
	case has("Host key verification failed"), has("host key is known for"):
		return say(fmt.Sprintf(
			"put the server's key into ~/.ssh/known_hosts: ssh-keyscan %s shows it; compare it before you trust it", host))
	case has("Permission denied (") && s.r.SSHAuthSock == "":
		return say("give keys to the build with --ssh default: they are taken from the ssh agent")
	case has("Permission denied ("):
		return say("the ssh agent has no key that the server accepts: ssh-add -l lists its keys")
	case has("ssh: not found"), has("cannot run ssh"):
		return say("install ssh: apt-get install openssh-client, or what your system calls it")
	case s.auth != "" && (has("could not read Username") || has("Authentication failed")):
		err = fmt.Errorf("%s does not accept the credentials", host)
		fallthrough
	case has("could not read Username"), has("Authentication failed"), has("returned error: 401"),
		has("returned error: 403"):
		return say(fmt.Sprintf("give credentials with --secret id=GIT_AUTH_TOKEN.%s or GIT_AUTH_HEADER.%s", host, host))
	case s.auth != "" && has("returned error: 30"):
		return say("the server redirects, and credentials don't follow a redirect: name the repository by its new URL")
	}
	return err
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
