package git

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/fetch/fetchtest"
)

func TestHostileSubmodulesAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := fetchtest.NewOrigin(t, dir, "secret")
	commit := secret.Commit("", map[string]string{"100644 s": "secret"}, "refs/heads/main")
	url, _ := gitServer(t, dir, "")
	for name, test := range map[string]struct{ modules, want string }{
		"file": {"[submodule \"m\"]\n\tpath = m\n\turl = file://" + dir + "/secret.git\n",
			"can't have files of this machine"},
		"path":       {"[submodule \"m\"]\n\tpath = m\n\turl = " + dir + "/secret.git\n", "none of https"},
		"ext":        {"[submodule \"m\"]\n\tpath = m\n\turl = ext::sh -c touch% " + dir + "/pwned\n", "none of https"},
		"option":     {"[submodule \"m\"]\n\tpath = m\n\turl = --upload-pack=touch " + dir + "/pwned\n", "none of https"},
		"ssh option": {"[submodule \"m\"]\n\tpath = m\n\turl = ssh://-oProxyCommand=touch/x\n", "dash"},
		"no url":     {"[submodule \"m\"]\n\tpath = m\n", "doesn't say where it comes from"},
		"no module":  {"", "doesn't say where it comes from"},
		"name":       {"[submodule \"../../m\"]\n\tpath = m\n\turl = ./../secret.git\n", "the name \"../../m\" is refused"},
		"other path": {"[submodule \"m\"]\n\tpath = ../m\n\turl = ./../secret.git\n", "doesn't say where it comes from"},
		"included":   {"[include]\n\tpath = " + dir + "/secret.git/config\n", "doesn't say where it comes from"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := strings.ReplaceAll(name, " ", "-")
			o := fetchtest.NewOrigin(t, dir, repo)
			o.Commit("", map[string]string{"160000 m": commit, "100644 .gitmodules": test.modules}, "refs/heads/main")
			r := gitRequest(t, url+"/"+repo+".git")
			r.Ref.KeepGitDir = new(name == "name")
			c := openCache(t)
			if _, err := c.Tree(t.Context(), r); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if left := fetchtest.Leftovers(t, c.kept); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if _, err := os.Lstat(dir + "/pwned"); err == nil {
		t.Error("a command was run")
	}
}

func TestEndlessSubmodulesEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := fetchtest.NewOrigin(t, dir, "x")
	commit := o.Commit("", map[string]string{"100644 f": "f"})
	for range maxDepth + 2 {
		commit = o.Commit("", map[string]string{
			"160000 m": commit, "100644 .gitmodules": "[submodule \"m\"]\n\tpath = m\n\turl = ./\n",
		}, "refs/heads/main")
	}
	_, err := openCache(t).Tree(t.Context(), gitRequest(t, "file://"+dir+"/x.git"))
	if err == nil || !strings.Contains(err.Error(), "submodules in each other") {
		t.Error(err)
	}
}

func TestHostileRepositoriesAreHarmless(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := fetchtest.NewOrigin(t, dir, "x")
	blob := o.Git("#!/bin/sh\ntouch "+dir+"/pwned\n", "hash-object", "-w", "--stdin")
	inner := o.Git("100755 blob "+blob+"\tpost-checkout\n", "mktree")
	hooks := o.Git("040000 tree "+inner+"\thooks\n", "mktree")
	// A tree that git itself would never write.
	raw := func(mode, name, id string) string {
		sum, err := hex.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		return mode + " " + name + "\x00" + string(sum)
	}
	url, _ := gitServer(t, dir, "")
	for name, entries := range map[string]string{
		"dotgit": raw("40000", ".git", hooks), "dotdot": raw("40000", "..", hooks), "upper": raw("40000", ".GIT", hooks),
		"slash": raw("100644", "../pwned", blob),
	} {
		tree := o.Git(entries, "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
		o.Git("", "update-ref", "refs/heads/"+name, o.Git("", "commit-tree", "-m", "m", tree))
		for _, keep := range []bool{false, true} {
			c := openCache(t)
			r := gitRequest(t, url+"/x.git#"+name)
			r.Ref.KeepGitDir = &keep
			if out, err := c.Tree(t.Context(), r); err == nil {
				t.Errorf("%s, keep %t: %v", name, keep, listing(t, out.Dir))
			}
			if _, err := os.Lstat(filepath.Join(c.kept.Path(), "pwned")); err == nil {
				t.Errorf("%s: it led out", name)
			}
		}
	}
	// Filters and hooks that a repository asks for, but can't configure.
	o.Commit("", map[string]string{"100644 .gitattributes": "* filter=evil diff=evil\n", "100644 f": "f",
		"100644 .gitconfig": "[filter \"evil\"]\n\tsmudge = touch " + dir + "/pwned\n"}, "refs/heads/filter")
	openCache(t).mustCheckOut(t, gitRequest(t, url+"/x.git#filter"))
	if _, err := os.Lstat(dir + "/pwned"); err == nil {
		t.Error("a command was run")
	}
}

func TestLocalRepositoriesStayInTheirDirectories(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	secretDir := filepath.Join(dir, "secret")
	secret := fetchtest.NewOrigin(t, secretDir, "s")
	stolen := secret.Commit("", map[string]string{"100644 f": "secret"}, "refs/heads/main")
	allowed := filepath.Join(dir, "allowed")
	add := func(name string, change func(o *fetchtest.Origin)) {
		o := fetchtest.NewOrigin(t, allowed, name)
		o.Commit("", map[string]string{"100644 f": "f"}, "refs/heads/main")
		change(o)
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	add("fine", func(*fetchtest.Origin) {})
	add("alternates", func(o *fetchtest.Origin) {
		write(o.Dir+"/objects/info/alternates", secret.Dir+"/objects\n")
		o.Git("", "update-ref", "refs/heads/main", stolen)
	})
	add("objects", func(o *fetchtest.Origin) {
		if err := errors.Join(os.RemoveAll(o.Dir+"/objects"),
			os.Symlink(secret.Dir+"/objects", o.Dir+"/objects")); err != nil {
			t.Fatal(err)
		}
		write(o.Dir+"/refs/heads/main", stolen+"\n")
	})
	add("commondir", func(o *fetchtest.Origin) { write(o.Dir+"/commondir", secret.Dir+"\n") })
	add("promisor", func(o *fetchtest.Origin) {
		o.Git("", "config", "extensions.partialClone", "evil")
		o.Git("", "config", "remote.evil.promisor", "true")
		o.Git("", "config", "remote.evil.url", "ext::sh -c touch% "+dir+"/pwned")
	})
	add("include", func(o *fetchtest.Origin) { o.Git("", "config", "include.path", secret.Dir+"/config") })
	if err := os.Mkdir(filepath.Join(allowed, "gitfile"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(allowed, "gitfile/.git"), "gitdir: "+secret.Dir+"\n")
	if err := os.Symlink(secret.Dir, filepath.Join(allowed, "link.git")); err != nil {
		t.Fatal(err)
	}
	add("submodule", func(o *fetchtest.Origin) {
		o.Commit("", map[string]string{
			"160000 m": stolen, "100644 .gitmodules": "[submodule \"m\"]\n\tpath = m\n\turl = ../../secret/s.git\n",
		}, "refs/heads/main")
	})
	for path, want := range map[string]string{
		allowed + "/fine.git": "", secret.Dir: "may not read " + secret.Dir, allowed + "/link.git": "may not read " +
			secret.Dir,
		allowed + "/alternates.git": "refers to another one", allowed + "/objects.git": "is a symbolic link",
		allowed + "/commondir.git": "refers to another one",
		allowed + "/promisor.git":  "a partial clone is refused", allowed + "/include.git": "includes others is refused",
		allowed + "/gitfile": "kept elsewhere", allowed + "/submodule.git": "may not read " + secret.Dir,
		allowed + "/../secret/s.git": "may not read " + secret.Dir, allowed + "/missing": "no such file",
	} {
		r := gitRequest(t, "file://"+path)
		r.LocalDirs = []string{allowed}
		_, err := openCache(t).Tree(t.Context(), r)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := os.Lstat(dir + "/pwned"); err == nil {
		t.Error("a command was run")
	}
	none := gitRequest(t, "file://"+allowed+"/fine.git")
	none.LocalDirs = []string{}
	if _, err := openCache(t).Tree(t.Context(), none); err == nil || !strings.Contains(err.Error(), "--allow=fs.read=") {
		t.Errorf("nothing allowed: %v", err)
	}
}

func TestGitCredentialsGoToTheirHostOnly(t *testing.T) {
	t.Parallel()
	dir, otherDir := t.TempDir(), t.TempDir()
	sub := fetchtest.NewOrigin(t, otherDir, "sub")
	commit := sub.Commit("", map[string]string{"100644 s": "s"}, "refs/heads/main")
	var leaked atomic.Value
	otherURL, _ := gitServer(t, otherDir, "")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			leaked.Store(a)
		}
		http.Redirect(w, r, otherURL+r.URL.String(), http.StatusFound)
	}))
	t.Cleanup(other.Close)
	o := fetchtest.NewOrigin(t, dir, "x")
	o.Commit("", map[string]string{
		"100644 f": "f", "160000 m": commit, "100644 .gitmodules": "[submodule \"m\"]\n\tpath = m\n\turl = " + other.URL +
			"/sub.git\n",
	}, "refs/heads/main")
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:hunter2"))
	token := "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:tok-en"))
	for name, test := range map[string]struct {
		auth, user string
		secrets    map[string]string
		want       string
	}{
		"URL":           {basic, "user:hunter2@", nil, ""},
		"token":         {token, "", map[string]string{"GIT_AUTH_TOKEN": "tok-en\n"}, ""},
		"token of host": {token, "", map[string]string{"GIT_AUTH_TOKEN.HOST": "tok-en", "GIT_AUTH_TOKEN": "wrong"}, ""},
		"header":        {"Bearer tok-en", "", map[string]string{"GIT_AUTH_HEADER": "Bearer tok-en"}, ""},
		"none":          {token, "", nil, "--secret id=GIT_AUTH_TOKEN."},
		"wrong":         {token, "", map[string]string{"GIT_AUTH_TOKEN": "hunter2"}, "--secret id=GIT_AUTH_TOKEN."},
		"of another one": {token, "", map[string]string{"GIT_AUTH_TOKEN.example.com": "tok-en"},
			"--secret id=GIT_AUTH_TOKEN."},
	} {
		url, _ := gitServer(t, dir, test.auth)
		host := strings.TrimPrefix(url, "http://")
		r := gitRequest(t, "http://"+test.user+host+"/x.git")
		r.Secrets = func(id string) ([]byte, bool) {
			v, ok := test.secrets[strings.ReplaceAll(id, host, "HOST")]
			return []byte(v), ok
		}
		c := openCache(t)
		_, err := c.Tree(t.Context(), r)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		fetchtest.HoldsNo(t, c.kept.Path(), "hunter2", "tok-en", base64.StdEncoding.EncodeToString([]byte("user:hunter2")))
	}
	if v := leaked.Load(); v != nil {
		t.Errorf("another host was given %v", v)
	}
	redirect := gitRequest(t, strings.Replace(other.URL, "://", "://user:hunter2@", 1)+"/sub.git")
	if _, err := openCache(t).Tree(t.Context(), redirect); err == nil ||
		!strings.Contains(err.Error(), "credentials don't follow a redirect") {
		t.Errorf("redirect with credentials: %v", err)
	}
	openCache(t).mustCheckOut(t, gitRequest(t, other.URL+"/sub.git")) // without any it may go on
}

func TestUsersGitConfigurationIsNotUsed(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	fetchtest.NewOrigin(t, dir, "x").Commit("", map[string]string{"100644 f": "f"}, "refs/heads/main")
	url, _ := gitServer(t, dir, "Basic x")
	config := "[url \"" + url + "/x.git\"]\n\tinsteadOf = http://127.0.0.1:1/x.git\n[core]\n\thooksPath = " + home + "\n"
	if err := errors.Join(
		os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o644),
		os.WriteFile(filepath.Join(home, ".netrc"), []byte("machine 127.0.0.1 login u password p\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("GIT_DIR", home)
	t.Setenv("GIT_CONFIG_PARAMETERS", "'http.extraheader'='Authorization: Basic x'")
	if _, err := openCache(t).Tree(t.Context(), gitRequest(t, url+"/x.git")); err == nil ||
		!strings.Contains(err.Error(), "GIT_AUTH_TOKEN") {
		t.Errorf("the user's own credentials were used: %v", err)
	}
	if _, err := openCache(t).Tree(t.Context(), gitRequest(t, "http://127.0.0.1:1/x.git")); err == nil {
		t.Error("the user's own configuration was used")
	}
}
