package credentials_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

func encoded(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

func TestCredentialsAreFoundWherePodmanFindsThem(t *testing.T) {
	auths := func(key, user, password string) string {
		return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, encoded(user, password))
	}
	const host = "registry.test:5000"
	helper := fmt.Sprintf(
		"#!/bin/sh\nread -r host\n[ \"$1\" = get ] || exit 1\n[ \"$host\" = %s ] || { echo 'credentials not found in native keychain'; exit 1; }\n"+
			"echo '{\"Username\":\"ann\",\"Secret\":\"secret\"}'\n", host)
	for _, c := range []struct {
		name string
		// files are below the home directory.
		files map[string]string
		env   map[string]string
		conf  string
		// named is the file that the user names.
		named string
		// none says that no credential is found, errs what an error has in it.
		none bool
		errs []string
	}{
		{name: "none", none: true},
		{name: "run-time file", files: map[string]string{"run/containers/auth.json": auths(host, "ann", "secret")}},
		{name: "user's file", files: map[string]string{".config/containers/auth.json": auths(host, "ann", "secret")}},
		{name: "docker's file", files: map[string]string{".docker/config.json": auths(host, "ann", "secret")}},
		{name: "docker's file as URL", files: map[string]string{".docker/config.json": auths("https://"+host+"/v1/", "ann",
			"secret")}},
		{name: "run-time file wins", files: map[string]string{"run/containers/auth.json": auths(host, "ann", "secret"),
			".docker/config.json": auths(host, "bob", "x")}},
		{name: "docker's directory", files: map[string]string{"d/config.json": auths(host, "ann", "secret")},
			env: map[string]string{"DOCKER_CONFIG": "HOME/d"}},
		{name: "file in the environment", files: map[string]string{"a.json": auths(host, "ann", "secret")},
			env: map[string]string{"REGISTRY_AUTH_FILE": "HOME/a.json"}},
		{name: "file named", files: map[string]string{"a.json": auths(host, "ann", "secret")},
			named: "HOME/a.json"},
		{name: "file named is the only one",
			files: map[string]string{"a.json": `{}`, ".docker/config.json": auths(host, "ann", "secret")},
			named: "HOME/a.json", none: true},
		{name: "file named is missing", named: "HOME/a.json",
			errs: []string{"a.json", "no such file"}},
		{name: "namespace", files: map[string]string{"run/containers/auth.json": auths(host+"/team", "ann", "secret")}},
		{name: "repository before namespace and host", files: map[string]string{"run/containers/auth.json": fmt.Sprintf(
			`{"auths":{%q:{"auth":%q},%q:{"auth":%q},%q:{"auth":%q}}}`, host, encoded("a", "a"), host+"/team", encoded("b", "b"),
			host+"/team/app", encoded("ann", "secret"))}},
		{name: "another namespace",
			files: map[string]string{"run/containers/auth.json": auths(host+"/other", "ann", "secret")},
			none:  true},
		{name: "another host", files: map[string]string{"run/containers/auth.json": auths("example.test", "ann", "secret")},
			none: true},
		{name: "broken file", files: map[string]string{"run/containers/auth.json": `{"auths":`}, errs: []string{"auth.json"}},
		{name: "helper", files: map[string]string{"bin/docker-credential-test": helper,
			".docker/config.json": fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, host)}},
		{name: "store", files: map[string]string{"bin/docker-credential-test": helper,
			".docker/config.json": `{"auths":{},"credsStore":"test"}`}},
		{name: "store that isn't installed",
			files: map[string]string{".docker/config.json": fmt.Sprintf(`{"credsStore":"nowhere","auths":{%q:{"auth":%q}}}`,
				host, encoded("ann", "secret"))}},
		{name: "helper that isn't installed",
			files: map[string]string{".docker/config.json": fmt.Sprintf(`{"credHelpers":{%q:"nowhere"}}`, host)},
			errs:  []string{"docker-credential-nowhere"}},
		{name: "helper that is a path",
			files: map[string]string{".docker/config.json": fmt.Sprintf(`{"credHelpers":{%q:"../x"}}`, host)},
			errs:  []string{"docker-credential-../x"}},
		{name: "helper in registries.conf", conf: `credential-helpers = ["test"]`,
			files: map[string]string{"bin/docker-credential-test": helper}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := registrytest.Home(t, c.conf)
			t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
			for name, text := range c.files {
				registrytest.Write(t, filepath.Join(dir, name), text)
				if err := os.Chmod(filepath.Join(dir, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for name, value := range c.env {
				t.Setenv(name, strings.ReplaceAll(value, "HOME", dir))
			}
			c.named = strings.ReplaceAll(c.named, "HOME", dir)
			registrytest.Wants(t, conf.Read()) // for the library, which asks helpers that registries.conf names

			var got credentials.Credential
			err := credentials.CheckFile(c.named)
			if err == nil {
				got, err = credentials.Find(t.Context(), c.named, host+"/team/app")
			}
			if registrytest.Wants(t, err, c.errs...); err != nil {
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the error tells the password: %v", err)
				}
				return
			}
			want := credentials.Credential{Username: "ann", Password: "secret"}
			if c.none {
				want = credentials.Credential{}
			}
			if got != want {
				t.Errorf("found %+v, want %+v", got, want)
			}
		})
	}
}

func TestAnAuthFileOfSomebodyElseIsPassedOver(t *testing.T) {
	dir := registrytest.Home(t, "")
	registrytest.Write(t, filepath.Join(dir, ".docker/config.json"),
		fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, "registry.test",
			encoded("ann", "secret")))
	at := filepath.Join(dir, "run/containers/auth.json")
	registrytest.Write(t, at, "{}")
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/sys/vm/compact_memory", at); err != nil { // nobody may read it, not even root
		t.Fatal(err)
	}
	if _, err := os.ReadFile(at); !errors.Is(err, fs.ErrPermission) {
		t.Fatalf("reading %s gives %v, no error of permission", at, err)
	}
	registrytest.Wants(t, conf.Read())
	got, err := credentials.Find(t.Context(), "", "registry.test/team/app")
	if registrytest.Wants(t, err); got.Username != "ann" {
		t.Errorf("found %+v", got)
	}
	_, err = credentials.Find(t.Context(), at, "registry.test/team/app")
	registrytest.Wants(t, err, "permission denied", at)
}

func TestAHelperThatHangsHoldsNobodyUp(t *testing.T) {
	dir := registrytest.Home(t, `credential-helpers = ["test"]`)
	t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	// The helper ends with the test, which removes the directory.
	helper := filepath.Join(dir, "bin/docker-credential-test")
	registrytest.Write(t, helper, fmt.Sprintf("#!/bin/sh\n>%[1]s/asked\nwhile [ -e %[1]s/asked ]; do sleep 0.1; done\n",
		dir))
	if err := os.Chmod(helper, 0o700); err != nil {
		t.Fatal(err)
	}
	registrytest.Wants(t, conf.Read())
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no more")
	go func() {
		for {
			if _, err := os.Stat(dir + "/asked"); err == nil {
				cancel(why)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := credentials.Find(ctx, "", "registry.test/team/app"); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

func TestKeysOfLogins(t *testing.T) {
	for text, want := range map[string]string{
		"registry.example.com": "registry.example.com", "https://a.example.com:5000/v2/": "a.example.com:5000",
		"localhost": "localhost", "quay.io/team": "quay.io/team", "https://index.docker.io/v1/": "docker.io",
		"docker.io": "docker.io", "": "", "name": "", "a b": "", "UPPER CASE/": "", "x.test/a:1": "",
		"https://ann:secret@x.test": "",
	} {
		got, err := credentials.Key(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}
