package tests_test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

// canaries are secrets of every kind, by what they are given as. Nothing that a build leaves may have one.
func canaries() map[string]string {
	all := map[string]string{}
	for _, kind := range []string{"file", "variable", "command", "proxy", "registry", "git"} {
		all[kind] = "canary-" + kind + "-5b9d2f"
	}
	return all
}

const canaryFile = `FROM base
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=V --mount=type=secret,id=command,target=/etc/c \
    test -s /run/secrets/file && test -n "$V" && test -s /etc/c && test -n "$http_proxy" && sha256sum /run/secrets/file >/sum
RUN --mount=type=ssh --mount=type=secret,id=git test -S "$SSH_AUTH_SOCK" && echo made >/made
ARG FAIL
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=V test -z "$FAIL"
`

// TestNoSecretIsLeftAnywhere builds with secrets of every kind, natively and with an OCI runtime, with and without
// success, on a terminal too, and looks for them in all that is printed and written: layers, records, caches, a
// registry's files, bundles, metadata, logs.
func TestNoSecretIsLeftAnywhere(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		c := canaries()
		s.write(t, "secrets/file", c["file"]+"\n")
		s.write(t, "ctx/Containerfile", canaryFile)
		s.write(t, "ctx/away", "FROM 127.0.0.1:9/none\n")
		s.run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.path("secrets/key"))
		key, err := os.ReadFile(s.path("secrets/key"))
		if err != nil {
			t.Fatal(err)
		}
		c["agent"] = strings.Split(string(key), "\n")[2]
		s.env = append(s.env, "V_SECRET="+c["variable"], "GIT_AUTH_TOKEN="+c["git"],
			"http_proxy=http://user:"+c["proxy"]+"@127.0.0.1:9")
		s.mkdir(t, "out")
		flags := []string{
			"build", "--http-proxy", "--ssh", "default=" + s.path("secrets/key"), "--secret",
			"id=file,src=" + s.path("secrets/file"),
			"--secret", "id=variable,env=V_SECRET", "--secret", "id=GIT_AUTH_TOKEN", "--secret", "id=git,env=GIT_AUTH_TOKEN",
			"--secret", "id=command,cmd=echo " + strings.Replace(c["command"], "canary", `"can"ary`, 1),
			"--creds", "ann:" + c["registry"], "--no-cache",
		}
		printed := ""
		build := func(want int, more ...string) {
			t.Helper()
			r := s.cooper(t, append(append(flags, more...), "ctx")...)
			if r.Code != want {
				t.Errorf("%q: status %d\n%s", more, r.Code, tail(r.Stderr))
			}
			printed += r.Stdout + r.Stderr
		}
		build(0, "--progress=plain", "-t", "app", "-o", "type=oci,dest="+s.path("out/app"),
			"--metadata-file", s.path("out/meta"), "--cache-to", "type=local,dest="+s.path("out/cache"))
		build(0, "--progress=rawjson", "--runtime=crun", "--keep-bundle", s.path("out/bundles"))
		build(1, "--progress=json", "--build-arg", "FAIL=1")
		build(1, "--progress=plain", "--build-arg", "FAIL=1", "--runtime=crun")
		build(1, "--progress=plain", "-f", s.path("ctx/away"))
		address, stop := s.startRegistry(t)
		build(0, "--tls-verify=false", "-o", "type=registry,name="+address+"/app:1,compression=uncompressed",
			"--cache-to", "type=registry,ref="+address+"/cache:1")
		stop()
		printed += s.onTerminal(t, append(append(flags, "--progress=tty"), "ctx")...)
		for kind, text := range c {
			for _, form := range []string{text, base64.StdEncoding.EncodeToString([]byte(text)),
				base64.StdEncoding.EncodeToString([]byte("ann:" + text))} {
				if strings.Contains(printed, form) {
					t.Errorf("%s: printed", kind)
				}
				cmd := s.command("grep", "-raFl", form, s.path("out"), s.path("home"), s.path("registry"), s.store())
				if out, err := cmd.Output(); len(out) > 0 {
					t.Errorf("%s: in %s (%v)", kind, out, err)
				}
			}
		}
	})
}
