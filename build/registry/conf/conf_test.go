package conf_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

func texts(refs []reference.Reference) []string {
	var all []string
	for _, r := range refs {
		all = append(all, r.String())
	}
	return all
}

func TestShortNamesAreResolved(t *testing.T) {
	const (
		search  = "unqualified-search-registries = [\"one.test\", \"docker.io\", \"two.test:5000\"]\n"
		aliases = "[aliases]\n\"fedora\" = \"registry.test/fedora\"\n\"team/app\" = \"registry.test/x/app\"\n\"gone\" = \"\"\n"
		sha     = "@sha256:0123456789012345678901234567890123456789012345678901234567890123"
	)
	for _, c := range []struct {
		name, conf, image string
		pull, local       []string
		err               string
	}{
		{"nothing configured", "", "alpine", []string{"docker.io/library/alpine:latest"}, []string{"localhost/alpine:latest"},
			""},
		{"searched", search, "alpine:3", []string{"one.test/alpine:3", "docker.io/library/alpine:3",
			"two.test:5000/alpine:3"},
			[]string{"localhost/alpine:3", "one.test/alpine:3", "docker.io/library/alpine:3", "two.test:5000/alpine:3"}, ""},
		{"digest", search, "alpine" + sha, []string{"one.test/alpine" + sha, "docker.io/library/alpine" + sha,
			"two.test:5000/alpine" + sha},
			[]string{"localhost/alpine" + sha, "one.test/alpine" + sha, "docker.io/library/alpine" + sha,
				"two.test:5000/alpine" + sha}, ""},
		{"full name", search + aliases, "registry.test/alpine", []string{"registry.test/alpine:latest"},
			[]string{"registry.test/alpine:latest"}, ""},
		{"docker.io", search, "docker.io/alpine", []string{"docker.io/library/alpine:latest"},
			[]string{"docker.io/library/alpine:latest"}, ""},
		{"localhost", search, "localhost/alpine", []string{"localhost/alpine:latest"}, []string{"localhost/alpine:latest"},
			""},
		{"alias", search + aliases, "fedora:40", []string{"registry.test/fedora:40"},
			[]string{"registry.test/fedora:40", "localhost/fedora:40", "one.test/fedora:40", "docker.io/library/fedora:40",
				"two.test:5000/fedora:40"}, ""},
		{"alias of a path", aliases, "team/app", []string{"registry.test/x/app:latest"},
			[]string{"registry.test/x/app:latest", "localhost/team/app:latest"}, ""},
		{"alias undone", aliases, "gone", []string{"docker.io/library/gone:latest"}, []string{"localhost/gone:latest"}, ""},
		{"enforcing", search + "short-name-mode = \"enforcing\"\n", "alpine", nil, nil, "enforcing"},
		{"enforcing with one", "unqualified-search-registries = [\"one.test\"]\nshort-name-mode = \"enforcing\"\n", "alpine",
			[]string{"one.test/alpine:latest"}, []string{"localhost/alpine:latest", "one.test/alpine:latest"}, ""},
		{"no name", "", "Alpine", nil, nil, "lowercase"},
		{"alias without a registry", "[aliases]\n\"x\" = \"y\"\n", "x", nil, nil, `alias x = "y"`},
		{"alias with a tag", "[aliases]\n\"x\" = \"b.test/x:1\"\n", "x", nil, nil, "neither tag nor digest"},
		{"no registry to search", "unqualified-search-registries = [\"a_b.test\"]\n", "x", nil, nil, "is not a registry"},
		{"registry with a slash", "unqualified-search-registries = [\"one.test/\"]\n", "x", []string{"one.test/x:latest"},
			[]string{"localhost/x:latest", "one.test/x:latest"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			registrytest.Home(t, c.conf)
			names, err := conf.LoadShortNames()
			if err != nil {
				t.Fatal(err)
			}
			refs, err := names.PullCandidates(c.image)
			if c.err != "" {
				registrytest.Wants(t, err, c.err)
				return
			}
			registrytest.Wants(t, err)
			if diff := cmp.Diff(c.pull, texts(refs)); diff != "" {
				t.Errorf("to pull: %s", diff)
			}
			refs, err = names.LocalCandidates(c.image)
			registrytest.Wants(t, err)
			if diff := cmp.Diff(c.local, texts(refs)); diff != "" {
				t.Errorf("in the store: %s", diff)
			}
		})
	}
}

func TestMistakesInRegistriesConfAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"[[registry]]\n":                                                    "both location and prefix are unset",
		"[[registry]]\nprefix = \"a.test\"\n":                               "location is unset",
		"[[registry]]\nprefix = \"*.a.test/x\"\n":                           "Wildcarded prefix",
		"[[registry]]\nlocation = \"https://a.test\"\n":                     "URI schemes are not supported",
		"[[registry]]\nlocation = \"a.test\"\npull-from-mirror = \"all\"\n": "must not be set for a non-mirror registry",
		"[[registry]]\nlocation = \"a.test\"\n[[registry.mirror]]\n":        "mirror location is unset",
		"[[registry]]\nlocation = \"a.test\"\n[[registry.mirror]]\nlocation = \"b.test\"\npull-from-mirror = \"some\"\n":                              "pull-from-mirror",
		"[[registry]]\nlocation = \"a.test\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"b.test\"\npull-from-mirror = \"all\"\n": "at the same time",
		"[[registry]]\nlocation = \"a.test\"\n[[registry]]\nprefix = \"b.test\"\nlocation = \"a.test\"\ninsecure = true\n":                            "conflicting 'insecure' setting",
		"[[registry]]\nlocation = \"a.test\"\n[[registry]]\nprefix = \"b.test\"\nlocation = \"a.test\"\nblocked = true\n":                             "conflicting 'blocked' setting",
		"unqualified-search-registries = [\"a.test/x\"]\n":                                                                                            "Invalid unqualified-search-registries entry",
		"short-name-mode = \"sometimes\"\n":                "short-name mode",
		"[aliases]\n\"a.test/x\" = \"b.test/x\"\n":         "alias",
		"[aliases]\n\"x\" = \"y\"\n":                       "alias",
		"[aliases]\n\"x\" = \"b.test/x:1\"\n":              "alias",
		"[registries.search]\nregistries = [\"a.test\"]\n": "v2 format",
		"unqualified-search-registries = 5\n":              "registries.conf",
	} {
		registrytest.Home(t, text)
		registrytest.Wants(t, conf.Read(), want, "registries.conf")
	}
}

func TestFilesBesideRegistriesConfLieWhereTheEnvironmentSays(t *testing.T) {
	dir := registrytest.Home(t, "unqualified-search-registries = [\"one.test\"]\n")
	t.Setenv(conf.EnvDirectory, filepath.Join(dir, "mine"))
	t.Setenv(conf.EnvAliases, filepath.Join(dir, "aliases"))
	registrytest.Write(t, dir+"/mine/1.conf",
		"[aliases]\n\"a\" = \"x.test/a\"\n[[registry]]\nlocation = \"one.test\"\nblocked = true\n")
	registrytest.Write(t, dir+"/aliases", "[aliases]\n\"b\" = \"y.test/b\"\n")
	names, err := conf.LoadShortNames()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "x.test/a:latest", "b": "y.test/b:latest", "c": "one.test/c:latest"} {
		refs, err := names.PullCandidates(name)
		if err != nil || strings.Join(texts(refs), " ") != want {
			t.Errorf("%s: %v, %v, want %s", name, texts(refs), err, want)
		}
		if name != "c" {
			continue
		}
		if err := conf.Read(); err != nil { // for the library
			t.Fatal(err)
		}
		_, err = conf.Mirrors(refs[0])
		registrytest.Wants(t, err, "registries.conf blocks one.test", "one.test")
	}
}

func TestFilesOfRegistriesConfAddUp(t *testing.T) {
	dir := registrytest.Home(t, "")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", "")
	t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000") // root's recorded aliases are those of the machine
	base := filepath.Join(dir, ".config/containers")
	registrytest.Write(t, base+"/registries.conf",
		"unqualified-search-registries = [\"one.test\"]\n[aliases]\n\"a\" = \"x.test/a\"\n\"b\" = \"x.test/b\"\n")
	registrytest.Write(t, base+"/registries.conf.d/10.conf",
		"unqualified-search-registries = [\"two.test\"]\n[aliases]\n\"a\" = \"y.test/a\"\n")
	registrytest.Write(t, base+"/registries.conf.d/20.conf", "[aliases]\n\"b\" = \"\"\n\"c\" = \"x.test/c\"\n")
	registrytest.Write(t, base+"/registries.conf.d/ignored.txt", "nonsense")
	registrytest.Write(t, dir+"/.cache/containers/short-name-aliases.conf", "[aliases]\n\"c\" = \"z.test/c\"\n")
	recorded := types.SystemContext{UserShortNameAliasConfPath: dir + "/.cache/containers/short-name-aliases.conf"}
	if err := conf.Read(); err != nil { // for the library
		t.Fatal(err)
	}
	names, err := conf.LoadShortNames()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "y.test/a:latest", "b": "two.test/b:latest", "c": "z.test/c:latest",
		"d": "two.test/d:latest"} {
		refs, err := names.PullCandidates(name)
		if err != nil || strings.Join(texts(refs), " ") != want {
			t.Errorf("%s: %v, %v, want %s", name, texts(refs), err, want)
		}
		// The library, which podman asks, says the same.
		alias, _, err := sysregistriesv2.ResolveShortNameAlias(&recorded, name)
		if err != nil {
			t.Fatal(err)
		}
		search, err := sysregistriesv2.UnqualifiedSearchRegistries(&recorded)
		if got := search[0] + "/" + name; alias == nil && got+":latest" != want || alias != nil &&
			alias.Name()+":latest" != want {
			t.Errorf("%s: the library says %v or %s, %v, want %s", name, alias, got, err, want)
		}
	}
}

func TestThePolicyIsObeyed(t *testing.T) {
	const reject, accept, signed = `[{"type":"reject"}]`, `[{"type":"insecureAcceptAnything"}]`,
		`[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/x"}]`
	for _, c := range []struct{ name, policy, image, err string }{
		{"accepts", `{"default":` + accept + `}`, "a.test/b/c:1", ""},
		{"rejects", `{"default":` + reject + `}`, "a.test/b/c:1", "rejects images of every source"},
		{"host", `{"default":` + reject + `,"transports":{"docker":{"a.test":` + accept + `}}}`, "a.test/b/c:1", ""},
		{"another host", `{"default":` + reject + `,"transports":{"docker":{"a.test":` + accept + `}}}`, "b.test/b/c:1",
			"rejects"},
		{"namespace before host", `{"default":` + accept + `,"transports":{"docker":{"a.test":` + accept + `,"a.test/b":` +
			reject + `}}}`, "a.test/b/c:1", "rejects images of a.test/b"},
		{"namespace is no prefix", `{"default":` + accept + `,"transports":{"docker":{"a.test/b":` + reject + `}}}`,
			"a.test/bb/c:1", ""},
		{"repository", `{"default":` + accept + `,"transports":{"docker":{"a.test/b/c":` + reject + `}}}`, "a.test/b/c:1",
			"a.test/b/c"},
		{"tag before repository", `{"default":` + reject + `,"transports":{"docker":{"a.test/b/c":` + reject +
			`,"a.test/b/c:1":` + accept + `}}}`, "a.test/b/c:1", ""},
		{"another tag", `{"default":` + accept + `,"transports":{"docker":{"a.test/b/c":` + reject + `,"a.test/b/c:1":` +
			accept + `}}}`, "a.test/b/c:2", "rejects"},
		{"domain", `{"default":` + accept + `,"transports":{"docker":{"*.test":` + reject + `}}}`, "a.b.test:80/c", "*.test"},
		{"host before domain", `{"default":` + reject + `,"transports":{"docker":{"*.test":` + reject + `,"a.b.test:80":` +
			accept + `}}}`, "a.b.test:80/c", ""},
		{"every registry", `{"default":` + accept + `,"transports":{"docker":{"":` + reject + `}}}`, "a.test/c",
			"every registry"},
		{"another transport", `{"default":` + accept + `,"transports":{"docker-daemon":{"":` + reject + `}}}`, "a.test/c",
			""},
		{"short of docker.io", `{"default":` + accept + `,"transports":{"docker":{"docker.io/library":` + reject + `}}}`,
			"alpine", "docker.io/library"},
		{"signature", `{"default":` + accept + `,"transports":{"docker":{"a.test":` + signed + `}}}`, "a.test/c",
			"cooper can't check signatures"},
		{"sigstore", `{"default":[{"type":"sigstoreSigned"}]}`, "a.test/c", "podman pull a.test/c"},
		{"one of two", `{"default":[{"type":"insecureAcceptAnything"},{"type":"reject"}]}`, "a.test/c", "rejects"},
		{"unknown requirement", `{"default":[{"type":"new"}]}`, "a.test/c", "unknown type"},
		{"no default", `{"transports":{}}`, "a.test/c", "\"default\" is missing"},
		{"empty scope", `{"default":` + accept + `,"transports":{"docker":{"a":[]}}}`, "a.test/c", "is empty"},
		{"unknown key", `{"default":` + accept + `,"transport":{}}`, "a.test/c", "unknown key \"transport\""},
		{"no JSON", `{"default":`, "a.test/c", "policy.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := registrytest.Home(t, "")
			registrytest.Write(t, dir+"/policy.json", c.policy)
			policy, err := conf.LoadPolicy()
			if err == nil {
				err = policy.Check(registrytest.Ref(t, c.image))
			}
			if c.err == "" {
				registrytest.Wants(t, err)
			} else {
				registrytest.Wants(t, err, c.err, "policy.json")
			}
		})
	}
}
