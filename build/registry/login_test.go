package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
)

func TestALoginIsCheckedKeptUsedAndForgotten(t *testing.T) {
	for _, how := range []string{"file", "docker's file", "helper"} {
		t.Run(how, func(t *testing.T) {
			dir := registrytest.Home(t, "")
			f := guarded(t, `Basic realm="x"`, "Basic "+encoded("ann", "secret"))
			f.content["/v2/"] = []byte("{}")
			key := f.host()
			var at credentials.File
			if how == "docker's file" {
				at.DockerPath = filepath.Join(dir, ".docker", "config.json")
			}
			if how == "helper" {
				kept := filepath.Join(dir, "kept")
				registrytest.Write(t, filepath.Join(dir, "bin/docker-credential-test"), fmt.Sprintf("#!/bin/sh\ncase $1 in\n"+
					"store) cat >%[1]s ;;\nerase) rm -f %[1]s ;;\n"+
					"get) cat %[1]s 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; } ;;\nesac\n", kept))
				if err := os.Chmod(filepath.Join(dir, "bin/docker-credential-test"), 0o700); err != nil {
					t.Fatal(err)
				}
				t.Setenv("PATH", filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
				registrytest.Write(t, filepath.Join(dir, "registries.conf"), `credential-helpers = ["test"]`)
			}
			o := registry.Options{CertDir: f.trust(t), Username: "ann", Password: "wrong"}
			registrytest.Wants(t, registry.CheckLogin(t.Context(), o, key), "does not know this user name")
			o.Password = "secret"
			registrytest.Wants(t, registry.CheckLogin(t.Context(), o, key))
			_, err := credentials.Save(t.Context(), at, key, "ann", "secret")
			registrytest.Wants(t, err)
			if name, err := credentials.KnownUser(t.Context(), at, key); name != "ann" || err != nil {
				t.Errorf("kept is %q, %v", name, err)
			}
			_, _, err = pull(t.Context(), client(t, f, registry.Options{AuthFile: at.DockerPath}),
				registrytest.Ref(t, key+"/team/app:1"))
			registrytest.Wants(t, err)
			registrytest.Wants(t, credentials.Forget(t.Context(), at, key))
			if name, err := credentials.KnownUser(t.Context(), at, key); name != "" || err != nil {
				t.Errorf("after it was forgotten there is %q, %v", name, err)
			}
			// The helper above doesn't say that it had none.
			if err := credentials.Forget(t.Context(), at, key); how != "helper" && !errors.Is(err, credentials.ErrNotLoggedIn) {
				t.Errorf("forgotten once more: %v", err)
			}
		})
	}
}

func TestALoginByTokenAsksForNoRepository(t *testing.T) {
	registrytest.Home(t, "")
	f := newTaker(t)
	f.content["/v2/"] = []byte("{}")
	realm, scopes := tokens(t, f, 9)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" {
			return false
		}
		w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	o := registry.Options{Insecure: true, Username: "ann", Password: "secret"}
	registrytest.Wants(t, registry.CheckLogin(t.Context(), o, f.host()+"/team"))
	if got := scopes(); len(got) != 1 || got[0] != "" {
		t.Errorf("asked for %q", got)
	}
	o.Password = "wrong"
	registrytest.Wants(t, registry.CheckLogin(t.Context(), o, f.host()), "401")
}
