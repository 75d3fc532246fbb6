package remote

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func on(b bool) *bool { return &b }

const commit = "0123456789abcdef0123456789abcdef01234567"

func TestParseGitReadsBuildKitsForms(t *testing.T) {
	t.Parallel()
	hub := Git{Remote: "https://github.com/o/r.git", Scheme: "https", Host: "github.com"}
	with := func(change func(*Git)) Git {
		g := hub
		change(&g)
		return g
	}
	for text, want := range map[string]Git{
		"https://github.com/o/r.git":    hub,
		"https://github.com/o/r.git#v1": with(func(g *Git) { g.Ref = "v1" }),
		"https://github.com/o/r.git#a/b:c/d": with(func(g *Git) {
			g.Ref, g.Subdir = "a/b",
				"c/d"
		}),
		"https://github.com/o/r.git#:../x/./y/":                    with(func(g *Git) { g.Subdir = "x/y" }),
		"https://github.com/o/r.git?ref=v1&subdir=/dir":            with(func(g *Git) { g.Ref, g.Subdir = "v1", "dir" }),
		"https://github.com/o/r.git?subdir=dir#v1":                 with(func(g *Git) { g.Ref, g.Subdir = "v1", "dir" }),
		"https://github.com/o/r.git?tag=v1":                        with(func(g *Git) { g.Ref = "refs/tags/v1" }),
		"https://github.com/o/r.git?tag=refs/tags/v1#refs/tags/v1": with(func(g *Git) { g.Ref = "refs/tags/v1" }),
		"https://github.com/o/r.git?branch=v1":                     with(func(g *Git) { g.Ref = "refs/heads/v1" }),
		"https://github.com/o/r.git?commit=ABC1":                   with(func(g *Git) { g.Checksum = "abc1" }),
		"https://github.com/o/r.git?checksum=abc1&commit=abc1":     with(func(g *Git) { g.Checksum = "abc1" }),
		"https://github.com/o/r.git?keep-git-dir&submodules=0": with(func(g *Git) {
			g.KeepGitDir,
				g.Submodules = on(true), on(false)
		}),
		"https://github.com/o/r.git?mtime=commit": with(func(g *Git) { g.CommitTimes = true }),
		"https://github.com/o/r.git?fetch-by-commit&checksum=" +
			commit: with(func(g *Git) { g.ByCommit, g.Checksum = true, commit }),
		"https://github.com/o/r.git#refs/pull/1/head": with(func(g *Git) { g.Ref = "refs/pull/1/head" }),
		"github.com/o/r": {Remote: "https://github.com/o/r", Scheme: "https", Host: "github.com",
			LikeLocal: true},
		"github.com/o/r?tag=v1": {Remote: "https://github.com/o/r", Scheme: "https", Host: "github.com",
			LikeLocal: true, Ref: "refs/tags/v1"},
		"http://h:80/x.git":     {Remote: "http://h:80/x.git", Scheme: "http", Host: "h:80"},
		"git://h/x":             {Remote: "git://h/x", Scheme: "git", Host: "h"},
		"ssh://git@h:22/x#m":    {Remote: "ssh://git@h:22/x", Scheme: "ssh", Host: "h:22", Ref: "m"},
		"file:///srv/x.git#m:d": {Remote: "file:///srv/x.git", Scheme: "file", Ref: "m", Subdir: "d"},
		"git@github.com:o/r":    {Remote: "git@github.com:o/r", Scheme: "ssh", Host: "github.com"},
		"git@github.com:o/r.git?tag=a#:d": {Remote: "git@github.com:o/r.git", Scheme: "ssh", Host: "github.com",
			Ref: "refs/tags/a", Subdir: "d"},
		"https://u:p@h/x.git": {Remote: "https://u:p@h/x.git", Scheme: "https", Host: "h"},
	} {
		got, ok, err := ParseGit(text)
		if err != nil || !ok {
			t.Errorf("%s: %t, %v", text, ok, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", text, diff)
		}
	}
}

func TestParseGitLeavesPathsAndFilesAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", ".", "./.git", "../x.git", ".git", "/abs/x.git", "dir", "https://example.com/", "https://example.com/foo",
		"https://example.com/foo.git/", "https://example.com/foo.git.bar", "https://github.com/o/r", "custom.xyz/o/r.git",
		"http://github.com/docker/docker.git:#branch", "ftp://h/x.git", "ext::sh -c true", "a@b", "a b@c:d", "user@host/x:y",
		"https://h/%zz.git", "a*@b:c", "C:\\x", "user@https://h/x.git",
	} {
		if got, ok, err := ParseGit(text); ok || err != nil {
			t.Errorf("%q: %v, %t, %v", text, got, ok, err)
		}
	}
}

func TestParseGitRefusesWhatContradictsOrCouldBeAnOption(t *testing.T) {
	t.Parallel()
	base := "https://u:secret@h/x.git"
	for text, want := range map[string]string{
		base + "?ref=a#b":                  "contradicts",
		base + "?ref=a&tag=b":              "contradicts",
		base + "?tag=a&branch=a":           "contradicts",
		base + "?subdir=a#:b":              "contradicts",
		base + "?commit=ab&checksum=cd":    "contradict",
		base + "?ref=a&ref=b":              "more than once",
		base + "?ref=":                     "no value",
		base + "?what=1":                   "unknown parameter what=",
		base + "?mtime=now":                "must be checkout or commit",
		base + "?keep-git-dir=maybe":       "must be true or false",
		base + "?fetch-by-commit":          "full commit ID",
		base + "?checksum=xyz":             "isn't a commit ID",
		base + "?a=%zz":                    "can't be read",
		base + "#--upload-pack=x":          "can't be the name",
		base + "#a..b":                     "can't be the name",
		base + "#a^{}":                     "can't be the name",
		base + "?ref=a:b":                  "can't be the name",
		base + "?ref=+a%0Ab":               "control characters",
		base + "?subdir=a%00b":             "control characters",
		"ssh://-oProxyCommand=touch%20x/y": "URL",
		"ssh://-oProxyCommand/y":           "dash",
		"git@-oProxyCommand:x":             "dash",
		"git@h:-x":                         "dash",
		"git://":                           "no host",
		"ssh:///x":                         "no host",
		"file://srv/x.git":                 "file:///srv",
		"git://h:port/x":                   "URL",
	} {
		_, ok, err := ParseGit(text)
		if !ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %t, %v, want an error with %q", text, ok, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", text, err)
		}
	}
}

func TestPrintingAReferenceMasksCredentials(t *testing.T) {
	t.Parallel()
	g, _, err := ParseGit("https://u:secret@h/x.git#m:d")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%s", "%v", "%+v", "%#v"} {
		if got, want := fmt.Sprintf(verb, g), "https://xxxxx:xxxxx@h/x.git#m:d"; got != want {
			t.Errorf("%s: %s, want %s", verb, got, want)
		}
	}
}

func TestRedactMasksEveryURLOfAText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":                          "plain",
		"ADD https://h/x /y":             "ADD https://h/x /y",
		"ADD https://tok@h/x /y":         "ADD https://xxxxx@h/x /y",
		"a http://u:p@w@h b git://x:y@z": "a http://xxxxx:xxxxx@h b git://xxxxx:xxxxx@z",
		"ssh://git@h/x":                  "ssh://git@h/x",
		"ssh://git:p@h/x":                "ssh://xxxxx:xxxxx@h/x",
		"git@h:x":                        "git@h:x",
		"https://h/a@b":                  "https://h/a@b",
		`["https://:p@h"]`:               `["https://xxxxx:xxxxx@h"]`,
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestFileNameIsTheLastComponent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://h/a/b.tar?x=1#y": "b.tar", "https://h": "", "https://h/": "", "https://h/a/": "a", "https://h/a%2Fb": "b",
		"https://h/a%0Ab": "", "https://h/%2e%2e": "", "https://h/%5Bx%5D": "[x]",
	} {
		if got := FileName(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestIsHTTPTellsFilesFromRepositories(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"http://h/x": true, "https://h/x.git": false, "https://h/x.git/": true, "git://h/x": false, "x": false,
		"ftp://h/x":              false,
		"https://h/x.git?what=1": false, "HTTP://h/x": false,
	} {
		if got := IsHTTP(text); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

func FuzzParseGit(f *testing.F) {
	for _, seed := range []string{
		"https://u:p@h/x.git#r:d", "git@h:x?ref=a#b", "file:///x", "ssh://h:1/x", "github.com/a/b#c",
		"https://h/x.git?tag=%2d-x", "a@b:c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, ok, err := ParseGit(text)
		if !ok || err != nil {
			return
		}
		if strings.HasPrefix(g.Remote, "-") || strings.HasPrefix(g.Ref, "-") || strings.HasPrefix(g.Host, "-") {
			t.Fatalf("%q can be taken for an option: %+v", text, g)
		}
		if g.Subdir != "" && (strings.HasPrefix(g.Subdir, "/") || g.Subdir == ".." || strings.HasPrefix(g.Subdir, "../")) {
			t.Fatalf("%q leads out: %q", text, g.Subdir)
		}
		if again, _, err := ParseGit(g.Remote); err == nil && again.Ref+again.Subdir != "" {
			t.Fatalf("%q: the remote %q has a fragment", text, g.Remote)
		}
	})
}

func TestSubmoduleURLsAreRelativeToTheirRepository(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ holder, text, want string }{
		{"https://u:p@h/a/b.git", "../c.git", "https://u:p@h/a/c.git"},
		{"https://h/a/b.git", "./c", "https://h/a/b.git/c"},
		{"https://h/a/b.git", "../../../../c", "https://h/c"},
		{"git@h:a/b.git", "../c.git", "git@h:a/c.git"},
		{"git@h:b.git", "../c.git", "git@h:c.git"},
		{"file:///srv/b.git/", "../c.git", "file:///srv/c.git"},
		{"https://h/a.git", "https://other/no-suffix", "https://other/no-suffix"},
		{"https://h/a.git", "git@h:x", "git@h:x"},
		{"https://h/a.git", "ssh://h/x", "ssh://h/x"},
	} {
		holder, _, err := ParseGit(test.holder)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseSubmodule(holder, test.text); err != nil || got.Remote != test.want {
			t.Errorf("%s in %s: %v, %v, want %s", test.text, test.holder, got.Remote, err, test.want)
		}
	}
	for _, text := range []string{"ext::sh -c touch% /tmp/x", "/srv/x.git", "-x", "https://-h/x",
		"ssh://-oProxyCommand=x/y", "ftp://h/x", "", "fd::3", "u@h::x"} {
		if got, err := ParseSubmodule(Git{Remote: "https://h/a.git"}, text); err == nil {
			t.Errorf("%q: %v", text, got.Remote)
		}
	}
}
