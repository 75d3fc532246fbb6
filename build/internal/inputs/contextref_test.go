package inputs

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/plan"
)

func TestParseContext(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		key string
		c   plan.NamedContext
	}{
		"a=.":                    {"a", plan.NamedContext{Kind: plan.ContextDirectory, Ref: "."}},
		"a=x=y":                  {"a", plan.NamedContext{Kind: plan.ContextDirectory, Ref: "x=y"}},
		"A/B:3=../b":             {"a/b:3", plan.NamedContext{Kind: plan.ContextDirectory, Ref: "../b"}},
		"a=x.tar.gz":             {"a", plan.NamedContext{Kind: plan.ContextDirectory, Ref: "x.tar.gz"}},
		"a::linux/arm64=.":       {"a::linux/arm64", plan.NamedContext{Kind: plan.ContextDirectory, Ref: "."}},
		"a=docker-image://b:1":   {"a", plan.NamedContext{Kind: plan.ContextImage, Ref: "b:1"}},
		"a=container-image://b":  {"a", plan.NamedContext{Kind: plan.ContextImage, Ref: "b"}},
		"a=docker://b":           {"a", plan.NamedContext{Kind: plan.ContextImage, Ref: "b"}},
		"a=oci-layout://../d:v1": {"a", plan.NamedContext{Kind: plan.ContextLayout, Ref: "../d:v1"}},
		"a=target:../d#s":        {"a", plan.NamedContext{Kind: plan.ContextTarget, Ref: "../d#s"}},
		"a=https://h/x.git#main:d": {"a",
			plan.NamedContext{Kind: plan.ContextGit, Ref: "https://h/x.git#main:d"}},
		"a=git@h:o/r":          {"a", plan.NamedContext{Kind: plan.ContextGit, Ref: "git@h:o/r"}},
		"a=ssh://git@h/r":      {"a", plan.NamedContext{Kind: plan.ContextGit, Ref: "ssh://git@h/r"}},
		"a=github.com/o/r":     {"a", plan.NamedContext{Kind: plan.ContextGit, Ref: "github.com/o/r"}},
		"a=https://h/x.tar.gz": {"a", plan.NamedContext{Kind: plan.ContextHTTP, Ref: "https://h/x.tar.gz"}},
		"docker.io/library/a:latest=http://h/": {"docker.io/library/a:latest",
			plan.NamedContext{Kind: plan.ContextHTTP, Ref: "http://h/"}},
	} {
		key, c, err := ParseContext(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want.c, c); diff != "" || key != want.key {
			t.Errorf("%s: key %q (-want +got)\n%s", text, key, diff)
		}
	}
	for _, text := range []string{
		"", "a", "=.", "a=", "a b=.", "-a=.", "a::=.", "a::x/y/z/w=.", "a=ftp://h", "a=docker-image://", "a=oci-layout://",
		"a=target:",
		"a=https://h/x.git?ref=a&tag=b", "a=ssh://-oProxyCommand=x/y",
	} {
		if key, c, err := ParseContext(text); err == nil {
			t.Errorf("%s: %s, %v", text, key, c)
		}
	}
}

func TestFaultyNamedContextsSayWhatTheyMustBe(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"x":                    `"x": must be NAME=VALUE`,
		"a b=.":                `"a b=.": the name must be one that FROM or --from can have: `,
		"a::nothing/at/all/=.": `"a::nothing/at/all/=.": what follows :: must be a platform, such as linux/amd64`,
		"a=docker-image://":    "a=docker-image://: nothing follows docker-image://",
		"a=s3://b/c":           "a=s3://b/c: the value must be a directory, docker-image://IMAGE, oci-layout://DIR, a URL",
	} {
		if _, _, err := ParseContext(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{"a b=https://me:secret@h/x", "=https://me:secret@h/x",
		"a::b/c/d/e/f=https://me:secret@h/x",
		"a=s3://me:secret@h/x", "a=https://me:secret@h/x.git?ref=a&tag=b"} {
		if _, _, err := ParseContext(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestADirectoryIsMeantBeforeAnAbbreviatedRepository(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if _, c, err := ParseContext("a=github.com/o/r"); err != nil || c.Kind != plan.ContextGit {
		t.Errorf("%v, %v", c, err)
	}
	if err := os.MkdirAll("github.com/o/r", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, c, err := ParseContext("a=github.com/o/r"); err != nil || c.Kind != plan.ContextDirectory {
		t.Errorf("%v, %v", c, err)
	}
}
