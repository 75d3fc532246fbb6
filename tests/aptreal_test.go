package tests_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// toolPackages are all that the programs in testdata/real are made and checked with: installed once, for all of them.
// The C compiler is a small one; gcc is a quarter of the rest.
const toolPackages = "autoconf automake libc6-dev make nginx-light nodejs openssh-client postgresql python3 python3-pip python3-setuptools tcc"

// toolsfile installs them. An empty package stands in for PostgreSQL's just-in-time compiler, which is larger than
// PostgreSQL and not loaded for small queries. npm is four hundred packages of scripts beside the other hundred and
// fifty, and there is nothing in them to configure: they are unpacked, which takes a fraction of the time.
const toolsfile = `FROM debian
RUN <<EOT
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
printf 'path-exclude /usr/share/%s/*\n' doc locale man >/etc/dpkg/dpkg.cfg.d/small
mkdir -p /tmp/empty/DEBIAN
printf 'Package: %s\nVersion: 99:0\nArchitecture: all\nMaintainer: nobody\nDescription: empty\n' \
    "$(apt-cache show 'postgresql-[0-9]*' | grep -om1 'libllvm[0-9]*')" >/tmp/empty/DEBIAN/control
dpkg-deb -b /tmp/empty /tmp/empty.deb && dpkg -i /tmp/empty.deb
apt-get -q install -y --no-install-recommends ` + toolPackages + `
apt-get -q install -y --download-only --no-install-recommends npm
cd /var/cache/apt/archives; for p in libjs-*.deb node-*.deb npm_*.deb; do dpkg-deb -x $p /; done; rm *.deb
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
EOT
`

// buildRealDockerfiles builds Dockerfiles as people write them. The stage app is the image; the last stage is made of
// it and uses what is in it.
func buildRealDockerfiles(t *testing.T, s *site) {
	t.Helper()
	paths, err := filepath.Glob("testdata/real/*.txtar")
	if err != nil || len(paths) < 9 {
		t.Fatalf("%d real Dockerfiles, %v", len(paths), err)
	}
	s.write(t, "tools/Dockerfile", toolsfile)
	s.build(t, "-q", "-t", "tools", "tools")
	vars := realVariables(t, s)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			buildReal(t, s, path, vars)
		})
	}
}

// buildReal builds one archive's image, and then what uses it.
func buildReal(t *testing.T, s *site, path string, vars *strings.Replacer) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := "real-" + strings.TrimSuffix(filepath.Base(path), ".txtar")
	parts := map[string]string{}
	for _, f := range archive.Files {
		parts[f.Name] = string(f.Data)
		s.write(t, filepath.Join(name, f.Name), string(f.Data))
	}
	if parts["setup.sh"] != "" {
		s.run(t, "sh", "-ec", `umask 077; cd "$1" && . ./setup.sh`, "sh", s.path(name))
	}
	if parts["base/Dockerfile"] != "" {
		s.build(t, "-q", "-t", name+"-base", name+"/base")
	}
	flags := strings.Fields(strings.ReplaceAll(vars.Replace(parts["flags"]), "$CASE", s.path(name)))
	app := []string{"-t", name, "--target", "app"}
	if parts["never"] != "" {
		app = append(app, "-o", "type=oci,compression=uncompressed,dest="+name+".tar", "--metadata-file", name+".json")
	}
	build := []string{"build", "--progress=plain", name + "/ctx"}
	made := s.cooper(t, slices.Concat(build, flags, app)...)
	used := s.cooper(t, slices.Concat(build, flags)...)
	if made.Code != 0 || used.Code != 0 {
		t.Fatalf("status %d and %d\n%s\n%s", made.Code, used.Code, tail(made.Stderr), tail(used.Stderr))
	}
	for _, secret := range strings.Fields(parts["never"]) {
		for what, text := range map[string]string{"log": made.Stderr + used.Stderr, "image": s.read(t, name+".tar"),
			"metadata": s.read(t, name+".json")} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the %s", secret, what)
			}
		}
	}
}

func (s *site) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// realVariables are what the flags of the archives may name, beside $CASE, the archive's directory: $GOROOT, the tool
// chain that runs this test, and $NPM, a directory with the caller's npm configuration and certificates.
func realVariables(t *testing.T, s *site) *strings.Replacer {
	t.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"npm/npmrc": filepath.Join(home, ".npmrc"),
		"npm/ca.crt": "/etc/ssl/certs/ca-certificates.crt"} {
		text, err := os.ReadFile(from)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		s.write(t, name, string(text))
	}
	return strings.NewReplacer("$GOROOT", strings.TrimSpace(string(goroot)), "$NPM", s.path("npm"))
}

// debianTar is the archive of a minimal Debian that all tests share, made by the first that asks for it.
var debianTar = sync.OnceValues(func() (path string, err error) {
	dir := filepath.Join(suite.dir, "debootstrap")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	path = filepath.Join(suite.dir, "debian.tar")
	return path, debootstrap(path, dir)
})

// linkDebian puts the Debian archive into the site.
func (s *site) linkDebian(t *testing.T, name string) {
	t.Helper()
	path, err := debianTar()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Link(path, s.path(name)), s.own(s.path(name))); err != nil {
		t.Fatal(err)
	}
}
