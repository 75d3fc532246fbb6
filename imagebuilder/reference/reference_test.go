package reference_test

import (
	"strings"
	"testing"

	docker "github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// names are such as people write, and such as lie on the border of what is allowed.
func names() []string {
	sha := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	return []string{
		"", "a", "alpine", "alpine:3.20", "alpine@" + sha, "alpine:3.20@" + sha, "alpine:", "alpine@", "alpine:@" + sha,
		"library/alpine", "docker.io/alpine", "docker.io/library/alpine", "index.docker.io/alpine", "index.docker.io/a/b:c",
		"docker.io/library/a/b", "library/a/b", "quay.io/a", "quay.io/a/b/c:d", "localhost", "localhost/a", "localhost/a:1",
		"localhost:5000/a",
		"localhost:5000/a:1", "localhost:5000", "host/a", "Host/a", "HOST/A", "a/B", "Alpine", "alpine:TAG", "a/b/C:d", "a.b",
		"a.b/", "/a", "a//b", "a/",
		"a..b", "a__b", "a___b", "a--b", "a-----b", "a-_b", "a._b", "a_.b", "_a", "a_", "-a", "a-", ".a", "a.", "a/-b",
		"a/b-", "a/b_/c",
		"a:b:c", "a:5000/b", "a:50x/b", "a:/b", "a:5000/b:c", "a:5000/b@" + sha, "[::1]/a", "[::1]:5000/a", "[::1]:/a",
		"[::1]:x/a", "[]/a", "[::1/a",
		"[fe80::1%eth0]/a", "[::1]x/a", "[2001:DB8::1]:80/a/b:c", "1.2.3.4/a", "1.2.3.4:80/a", "-host.com/a", "host-.com/a",
		"ho--st.com/a", "a_b.com/c", "a.b_c/d", "host..com/a",
		".com/a", "com./a", "xn--bcher-kva.example/a", "büch.example/a", "bücher", "A/b", "a:" + strings.Repeat("t", 128),
		"a:" + strings.Repeat("t", 129),
		"a:-t", "a:.t", "a:_t", "a:t-", "a:t..t", "a:t/t", "a:t t", "a b", " a", "a ", "a\n", "a\x00",
		strings.Repeat("a", 255), strings.Repeat("a", 256), "q.io/" + strings.Repeat("a", 255),
		"q.io/" + strings.Repeat("a", 256), strings.Repeat("a", 248), strings.Repeat("a", 247),
		strings.Repeat("a", 64), strings.Repeat("A", 64), strings.Repeat("a", 63), strings.Repeat("g", 64),
		"a/" + strings.Repeat("a", 64),
		"a@sha256:" + strings.Repeat("a", 63), "a@sha256:" + strings.Repeat("a", 65), "a@sha256:" + strings.Repeat("A", 64),
		"a@sha256:" + strings.Repeat("g", 64),
		"a@sha512:" + strings.Repeat("a", 128), "a@sha384:" + strings.Repeat("a", 96), "a@md5:" + strings.Repeat("a", 32),
		"a@SHA256:" + strings.Repeat("a", 64),
		"a@sha256+b64:" + strings.Repeat("a", 64), "a@sha256.x_y-z:" + strings.Repeat("a", 64),
		"a@+sha:" + strings.Repeat("a", 64), "a@sha+:" + strings.Repeat("a", 64),
		"a@2sha:" + strings.Repeat("a", 64), "a@:" + strings.Repeat("a", 64), "a@" + sha + "@" + sha, "a@" + sha + ":t", sha,
		"a:b@c:d", "sha256:abc", "a@@b", "@" + sha, ":t", "/", ":", "@",
	}
}

// view is what of a reference anybody looks at.
type view struct{ Full, Name, Domain, Path, Familiar, Tag, Digest, Latest, Err string }

func ours(s string, parse func(string) (reference.Reference, error)) view {
	r, err := parse(s)
	if err != nil {
		return view{Err: err.Error()}
	}
	return view{
		Full: r.String(), Name: r.Name(), Domain: r.Domain, Path: r.Path, Familiar: r.Familiar(), Tag: r.Tag,
		Digest: r.Digest.String(),
		Latest: r.WithLatest().String(),
	}
}

func theirs(ref docker.Reference, err error) view {
	if err != nil {
		return view{Err: err.Error()}
	}
	named := ref.(docker.Named)
	v := view{
		Full: ref.String(), Name: named.Name(), Domain: docker.Domain(named), Path: docker.Path(named),
		Familiar: docker.FamiliarString(ref),
		Latest:   docker.TagNameOnly(named).String(),
	}
	if t, ok := ref.(docker.Tagged); ok {
		v.Tag = t.Tag()
	}
	if d, ok := ref.(docker.Digested); ok {
		v.Digest = d.Digest().String()
	}
	return v
}

func compare(t *testing.T, s string) {
	t.Helper()
	named, err := docker.ParseNormalizedNamed(s)
	if diff := cmp.Diff(theirs(named, err), ours(s, reference.Parse)); diff != "" {
		t.Errorf("Parse(%q) differs from Docker's:\n%s", s, diff)
	}
	bare, err := docker.Parse(s)
	if diff := cmp.Diff(theirs(bare, err), ours(s, reference.ParseBare)); diff != "" {
		t.Errorf("ParseBare(%q) differs from Docker's:\n%s", s, diff)
	}
}

func TestNamesAreReadAsDockerReadsThem(t *testing.T) {
	for _, name := range names() {
		compare(t, name)
	}
}

// TestShortStringsAreReadAsDockerReadsThem tries every string of up to five of the characters that mean something.
func TestShortStringsAreReadAsDockerReadsThem(t *testing.T) {
	const most = 5
	var extend func(s string)
	extend = func(s string) {
		compare(t, s)
		if len(s) < most && !t.Failed() {
			for _, c := range "aA1.-_:/[]" {
				extend(s + string(c))
			}
		}
	}
	extend("")
}

func FuzzNamesAreReadAsDockerReadsThem(f *testing.F) {
	for _, name := range names() {
		f.Add(name)
	}
	f.Fuzz(compare)
}

func TestARegistryIsTold(t *testing.T) {
	for name, want := range map[string]bool{
		"a": false, "a/b": false, "a.b/c": true, "a:80/c": true, "localhost/c": true, "localhost": false, "a.b": false,
		"A/b": false, "[::1]/a": true,
	} {
		r, err := reference.ParseBare(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := r.HasRegistry(); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}
