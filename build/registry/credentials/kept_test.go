package credentials_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

// TestALinkToTheFileStays has the files of people who keep their configuration elsewhere.
func TestALinkToTheFileStays(t *testing.T) {
	for _, c := range []struct {
		name string
		// link is where the file is expected, to is what the link says; both are below the home directory.
		link, to string
		// real is the file that it leads to.
		real string
		file credentials.File
	}{
		{name: "the user's file", link: "run/containers/auth.json", to: "HOME/dot/auth.json", real: "dot/auth.json"},
		{name: "a file that is named", link: "a.json", to: "dot/auth.json", real: "dot/auth.json",
			file: credentials.File{Path: "HOME/a.json"}},
		{name: "docker's file", link: ".docker/config.json", to: "../dot/config.json", real: "dot/config.json",
			file: credentials.File{DockerPath: "HOME/.docker/config.json"}},
		{name: "a link to a link", link: "a.json", to: "b.json", real: "dot/auth.json",
			file: credentials.File{Path: "HOME/a.json"}},
		{name: "a link below a link", link: "a.json", to: "link/../auth.json", real: "dot/auth.json",
			file: credentials.File{Path: "HOME/a.json"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := registrytest.Home(t, "")
			registrytest.Wants(t, conf.Read()) // for the library
			expand := func(text string) string { return strings.ReplaceAll(text, "HOME", home) }
			for _, dir := range []string{"run/containers", ".docker", "dot/deep"} {
				if err := os.MkdirAll(filepath.Join(home, dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for link, to := range map[string]string{"b.json": "dot/auth.json", "link": "dot/deep", c.link: expand(c.to)} {
				if err := os.Symlink(to, filepath.Join(home, link)); err != nil {
					t.Fatal(err)
				}
			}
			f := credentials.File{Path: expand(c.file.Path), DockerPath: expand(c.file.DockerPath)}
			for _, user := range []string{"ann", "bob"} { // the first one's login makes the file
				where, err := credentials.Save(t.Context(), f, "registry.test:5000", user, "secret")
				if err != nil || where != filepath.Join(home, c.link) {
					t.Fatalf("kept in %q, %v", where, err)
				}
				text, err := os.ReadFile(filepath.Join(home, c.real))
				if err != nil || !strings.Contains(string(text), encoded(user, "secret")) {
					t.Errorf("the file is %q, %v", text, err)
				}
				if name, err := credentials.KnownUser(t.Context(), f, "registry.test:5000"); name != user || err != nil {
					t.Errorf("logged in is %q, %v", name, err)
				}
			}
			if err := credentials.Forget(t.Context(), f, "registry.test:5000"); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(filepath.Join(home, c.link)); err != nil || info.Mode().Type() != os.ModeSymlink {
				t.Errorf("the link is %v, %v", info, err)
			}
			if err := credentials.Forget(t.Context(), f, "registry.test:5000"); !errors.Is(err, credentials.ErrNotLoggedIn) {
				t.Errorf("forgotten twice: %v", err)
			}
		})
	}
}

func TestALinkThatLeadsNowhereIsAnError(t *testing.T) {
	home := registrytest.Home(t, "")
	registrytest.Wants(t, conf.Read())
	at := filepath.Join(home, "a.json")
	if err := os.Symlink("a.json", at); err != nil {
		t.Fatal(err)
	}
	where, err := credentials.Save(t.Context(), credentials.File{Path: at}, "registry.test", "ann", "secret")
	if err == nil {
		t.Errorf("kept in %q", where)
	}
}
