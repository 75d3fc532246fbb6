package sharedcache_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cooperbuild/cooper/build/sharedcache"
)

// TestTheTemplatesForCIStartWarm reads the caches that their commands name.
func TestTheTemplatesForCIStartWarm(t *testing.T) {
	t.Parallel()
	flags := regexp.MustCompile(`--cache-(from|to)[ =](\S+)`)
	values := strings.NewReplacer("$CACHE", "type=registry,ref=registry.test/team/app/cache:main")
	for _, name := range []string{"github.yml", "gitlab.yml"} {
		text, err := os.ReadFile("../../contrib/ci/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var anything map[string]any
		if err := yaml.Unmarshal(text, &anything); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := flags.FindAllStringSubmatch(string(text), -1)
		if len(found) != 2 {
			t.Errorf("%s has %q", name, found)
		}
		for _, f := range found {
			read := map[string]func(string) ([]sharedcache.Spec, error){"from": sharedcache.From, "to": sharedcache.To}[f[1]]
			all, err := read(values.Replace(f[2]))
			if err != nil || len(all) != 1 || f[1] == "to" && (!all[0].AllMounts || all[0].Min || !all[0].IgnoreError) {
				t.Errorf("%s: %s: %+v, %v", name, f[0], all, err)
			}
		}
	}
}
