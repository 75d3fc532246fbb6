package tests_test

import (
	"archive/tar"
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// secretText is in a file of the host that no build may read.
const secretText = "the host's own secret"

// A hostileCase is a Dockerfile that tries to reach the host's files. Whether the build fails or the path is taken to
// be inside the image, the host's file stays unread and unchanged.
type hostileCase struct {
	name string
	// file is the Dockerfile; HOST in it is a directory of the host with a file "secret".
	file string
	// prepare is a shell script run in the context.
	prepare string
	// fails says that the build must fail.
	fails bool
}

func hostileCases() []hostileCase {
	return []hostileCase{
		{name: "symlink in the context", prepare: "ln -s HOST/secret link; ln -s HOST dir",
			file: "FROM base\nCOPY link /one\nCOPY dir /two\nCOPY dir/secret /three\n", fails: true},
		{name: "relative symlink out of the context", prepare: "ln -s ../host link",
			file: "FROM base\nCOPY link/secret /three\n", fails: true},
		{name: "dots in a source", file: "FROM base\nCOPY ../host/secret /x\n", fails: true},
		{name: "bind mount of a symlink", prepare: "ln -s HOST dir",
			file:  "FROM base\nRUN --mount=type=bind,source=dir,target=/mnt,rw cat /mnt/secret && echo changed >/mnt/secret\n",
			fails: true},
		{name: "bind mount with dots",
			file: "FROM base\nRUN --mount=type=bind,source=../host,target=/mnt,rw cat /mnt/secret && echo changed >/mnt/secret\n", fails: true},
		{name: "bind mount of a stage's symlink",
			file: "FROM base AS a\nRUN ln -s HOST /dir && ln -s / /root-dir\nFROM base\nRUN --mount=type=bind,from=a,source=/dir,target=/mnt cat /mnt/secret\n", fails: true},
		{name: "bind mount onto a symlink", prepare: "mkdir d; echo inner >d/secret",
			file: "FROM base\nRUN ln -s HOST /target\nRUN --mount=type=bind,source=d,target=/target cat /target/secret\nRUN --mount=type=tmpfs,target=/target/sub true\n"},
		{name: "cache id with dots",
			file: "FROM base\nRUN --mount=type=cache,id=../../../../../../../../../../HOST,target=/c ls -la /c; test ! -e /c/secret; echo changed >/c/secret\n"},
		{name: "cache source with dots",
			file:  "FROM base\nRUN --mount=type=cache,id=a,source=../../../../HOST,from=base,target=/c cat /c/secret\n",
			fails: true},
		{name: "copy through symlinks of the image",
			prepare: "echo changed >secret",
			file:    "FROM base\nRUN ln -s HOST /abs && ln -s ../../../../../../../../..HOST /rel && ln -s /abs /chain\nCOPY secret /abs/secret\nCOPY secret /rel/secret\nCOPY secret /chain/\nADD secret /abs/\n"},
		{name: "copy from symlinks of a stage",
			file:  "FROM base AS a\nRUN ln -s HOST /abs && ln -s HOST/secret /file\nFROM base\nCOPY --from=a /abs/secret /x\n",
			fails: true},
		{name: "copy onto a symlink to a file", prepare: "echo changed >secret",
			file: "FROM base\nRUN ln -s HOST/secret /f\nCOPY secret /f\n"},
		{name: "workdir through a descriptor",
			file: "FROM base\nWORKDIR /proc/self/fd/7\nRUN cat ../../../../../../../HOST/secret\n", fails: true},
		{name: "workdir through every descriptor",
			file: "FROM base\nRUN for i in $(seq 3 60); do cat /proc/self/fd/$i/HOST/secret /proc/1/fd/$i/HOST/secret /proc/self/fd/$i/secret && exit 0; done; exit 1\n", fails: true},
		{name: "workdir through a symlink",
			file: "FROM base\nRUN ln -s HOST /w\nWORKDIR /w/made\nRUN test ! -e ../secret && echo changed >../secret\n"},
		{name: "root of another process", file: "FROM base\nRUN cat /proc/1/root/HOST/secret /proc/1/cwd/HOST/secret\n",
			fails: true},
		{name: "passwd is a symlink",
			file: "FROM base\nRUN rm /etc/passwd && ln -s HOST/secret /etc/passwd\nUSER thehost\nRUN true\n", fails: true},
		{name: "passwd is a fifo", file: "FROM base\nRUN rm /etc/passwd && mkfifo /etc/passwd\nUSER somebody\nRUN true\n",
			fails: true},
		{name: "passwd is a device",
			file: "FROM base\nRUN rm /etc/group && ln -s /dev/zero /etc/group\nUSER 1:somegroup\nRUN true\n", fails: true},
		{name: "dev is a symlink",
			file: "FROM base\nRUN rm -rf /dev /proc /sys && ln -s HOST /dev && ln -s HOST /proc && ln -s HOST /sys\nRUN cat /dev/secret\n", fails: true},
		{name: "etc is a symlink", file: "FROM base\nRUN mv /etc /etc2 && ln -s HOST /etc\nRUN cat /etc/secret\n",
			fails: true},
		{name: "hosts is a symlink", prepare: "mkdir d; ln -s HOST/secret d/hosts; ln -s HOST/secret d/resolv.conf",
			file: "FROM base\nCOPY d /etc/\nRUN echo changed >/etc/hosts; echo changed >/etc/resolv.conf; true\n"},
		{name: "heredoc onto a symlink", file: "FROM base\nRUN ln -s HOST /dir\nCOPY <<secret /dir/\nchanged\nsecret\n"},
		{name: "device node", file: "FROM base\nRUN mknod /disk b 254 0 && head -c 1 /disk\n", fails: true},
		{name: "labels that runtimes obey", file: "FROM base\nLABEL io.podman.annotations.seccomp=unconfined " +
			"run.oci.keep_original_groups=1 run.oci.handler=krun io.podman.annotations.privileged=TRUE\n" +
			"RUN grep -q '^Seccomp:.2' /proc/self/status && grep -q 'CapEff:.00000000a80425fb' /proc/self/status && ! unshare -U true\n"},
		{name: "core pattern", file: "FROM base\nRUN echo changed >/proc/sys/kernel/core_pattern\n", fails: true},
		{name: "whiteout name in the context", prepare: "mkdir d; echo x >d/.wh.passwd", file: "FROM base\nCOPY d /etc/\n",
			fails: true},
	}
}

func TestHostileDockerfiles(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		for _, c := range hostileCases() {
			t.Run(c.name, func(t *testing.T) {
				s.write(t, "host/secret", secretText)
				if err := os.RemoveAll(s.path("ctx")); err != nil {
					t.Fatal(err)
				}
				host := s.path("host")
				s.write(t, "ctx/Containerfile", strings.ReplaceAll(c.file, "HOST", host))
				cmd := s.command("sh", "-ec", strings.ReplaceAll(c.prepare, "HOST", host))
				cmd.Dir = s.path("ctx")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				r := s.cooper(t, "build", "--no-cache", "--progress=plain", "-o", "type=oci,compression=uncompressed,dest=app.tar",
					"ctx")
				if (r.Code != 0) != c.fails || (c.fails && r.Code != 1) {
					t.Errorf("status %d\n%s", r.Code, tail(r.Stderr))
				}
				if strings.Contains(r.Stderr, secretText) || strings.Contains(r.Stderr, "goroutine ") {
					t.Errorf("the host's file was read, or cooper crashed:\n%s", tail(r.Stderr))
				}
				s.checkHost(t)
				s.checkNoLeftovers(t)
			})
		}
	})
}

// checkHost fails if a build has read or changed the host's file.
func (s *site) checkHost(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(s.path("host"))
	if err != nil || len(entries) != 1 {
		t.Errorf("the host's directory was written to: %v %v", entries, err)
	}
	if text, err := os.ReadFile(s.path("host/secret")); err != nil || string(text) != secretText {
		t.Errorf("the host's file was changed: %q %v", text, err)
	}
	l, err := openLayout(s.path("app.tar"))
	if err != nil {
		return // the build failed
	}
	all, err := l.entries()
	if err != nil {
		t.Error(err)
	}
	for _, e := range all {
		if e.Content == digest.FromString(secretText) {
			t.Errorf("the host's file is in the image: %s", e)
		}
	}
	if err := os.Remove(s.path("app.tar")); err != nil {
		t.Error(err)
	}
}

// TestHostileArchive unpacks an archive whose members try to leave the directory they are unpacked in.
func TestHostileArchive(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, c := range []struct {
			name    string
			members []tar.Header
		}{
			{"dots", []tar.Header{{Name: "../../../../../../../../HOST/secret", Typeflag: tar.TypeReg}}},
			{"absolute", []tar.Header{{Name: "HOST/secret", Typeflag: tar.TypeReg}}},
			{"symlink", []tar.Header{{Name: "l", Linkname: "HOST", Typeflag: tar.TypeSymlink},
				{Name: "l/secret", Typeflag: tar.TypeReg}}},
			{"symlink chain", []tar.Header{
				{Name: "a", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "a/b", Linkname: "../..", Typeflag: tar.TypeSymlink},
				{Name: "a/b/c", Linkname: "../../../../../..", Typeflag: tar.TypeSymlink},
				{Name: "a/b/c/HOST/secret", Typeflag: tar.TypeReg},
			}},
			{"hard link", []tar.Header{{Name: "h", Linkname: "../../../../../../../../HOST/secret", Typeflag: tar.TypeLink},
				{Name: "h", Typeflag: tar.TypeReg}}},
			{"hard link to a symlink", []tar.Header{
				{Name: "l", Linkname: "HOST/secret", Typeflag: tar.TypeSymlink}, {Name: "h", Linkname: "l", Typeflag: tar.TypeLink},
				{Name: "h", Typeflag: tar.TypeReg},
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				s := newSite(t, m)
				s.write(t, "host/secret", secretText)
				var archive bytes.Buffer
				w := tar.NewWriter(&archive)
				for _, h := range c.members {
					h.Name, h.Linkname = strings.ReplaceAll(h.Name, "HOST", s.path("host")),
						strings.ReplaceAll(h.Linkname, "HOST", s.path("host"))
					h.Mode = 0o666
					text := ""
					if h.Typeflag == tar.TypeReg {
						text = "changed"
					}
					h.Size = int64(len(text))
					if err := w.WriteHeader(&h); err != nil {
						t.Fatal(err)
					}
					if _, err := w.Write([]byte(text)); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				s.write(t, "ctx/x.tar", archive.String())
				s.write(t, "ctx/Containerfile", "FROM scratch\nADD x.tar /a/b/c/\n")
				r := s.cooper(t, "build", "-o", "type=oci,compression=uncompressed,dest=app.tar", "ctx")
				if r.Code != 0 && r.Code != 1 || strings.Contains(r.Stderr, "goroutine ") {
					t.Errorf("status %d\n%s", r.Code, tail(r.Stderr))
				}
				s.checkHost(t)
				s.checkNoLeftovers(t)
			})
		}
	})
}

// A Dockerfile that isn't a file may never end, or never begin: nobody may have to wait for it.
func TestADockerfileThatIsNoFile(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.mkdir(t, "pipe")
		s.mkdir(t, "dir/Dockerfile")
		s.mkdir(t, "zero")
		s.run(t, "sh", "-ec", "mkfifo pipe/Dockerfile; ln -s /dev/zero zero/Dockerfile")
		for _, c := range []struct{ call, message string }{
			{"build pipe", "pipe/Dockerfile is a named pipe"},
			{"build -f pipe/Dockerfile dir", "pipe/Dockerfile is a named pipe"},
			{"check pipe", "pipe/Dockerfile is a named pipe"},
			{"build dir", "dir/Dockerfile is a directory"},
			{"build zero", "zero/Dockerfile"},
		} {
			r := runCommand(t, s.command("timeout", append([]string{"60", suite.cooper}, strings.Fields(c.call)...)...))
			if r.Code != 1 || !strings.Contains(r.Stderr, c.message) {
				t.Errorf("%s: status %d, and want 1 with %q in\n%s", c.call, r.Code, c.message, tail(r.Stderr))
			}
		}
		r := runCommand(t, s.command("sh", "-c",
			suite.cooper+" build -q -f /dev/fd/3 dir 3<<EOT\nFROM scratch\nLABEL from=pipe\nEOT"))
		if r.Code != 0 {
			t.Errorf("a pipe of the shell's: status %d\n%s", r.Code, tail(r.Stderr))
		}
	})
}
