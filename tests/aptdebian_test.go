package tests_test

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// debianPackages have system users, set-ID programs, hard links and files of many owners.
const debianPackages = "openssh-server postfix"

const debianInstall = `export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get -q install -y --no-install-recommends ` + debianPackages + `
touch /srv/for-www && chown www-data:adm /srv/for-www && chmod 6751 /srv/for-www
mkdir /srv/links && echo one >/srv/links/1 && ln /srv/links/1 /srv/links/2
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
`

// TestAsRootDebian has the ordinary user build on a minimal Debian, of which there is one image in one store. No test
// takes longer: its file is among the first, for tests start in the order of their files.
func TestAsRootDebian(t *testing.T) {
	if testing.Short() {
		t.Skip("installs packages")
	}
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.mkdir(t, "debian")
	s.linkDebian(t, "debian/debian.tar")
	s.write(t, "debian/Dockerfile", "FROM scratch\nADD debian.tar /\nCMD [\"/bin/bash\"]\n")
	s.build(t, "-q", "-t", "debian", "debian")
	t.Run("builds", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *site){
			"Dockerfiles as people write them": buildRealDockerfiles,
			"packages are as root has them":    comparePackages,
			"resolvconf can be installed":      installResolvconf,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
			})
		}
	})
	s.checkNoLeftovers(t)
}

// comparePackages installs packages in a build and in a chroot of real root. What the image says of each file is what
// root got.
func comparePackages(t *testing.T, s *site) {
	t.Helper()
	ram := s.ram(t)
	s.write(t, "packages/Containerfile", "FROM debian AS base\nRUN <<EOT\n"+debianInstall+"EOT\n"+
		"FROM base\nRUN test $(stat -c %U:%G /var/lib/postfix) = postfix:postfix && getent passwd sshd\n"+
		"FROM scratch AS copied\nCOPY --from=base /srv /srv2\nCOPY --from=base /usr/bin/passwd /usr/bin/ssh-agent /bin2/\n")

	chroot := filepath.Join(ram, "chroot")
	reference := make(chan error)
	go func() { reference <- installAsRoot(chroot, s.path("debian/debian.tar")) }()
	r := s.cooper(t, "build", "--target", "base", "-o", "type=oci,dest=base.tar,compression=uncompressed", "packages")
	if err := <-reference; err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("status %d\n%s", r.Code, tail(r.Stderr))
	}
	s.build(t, "--target", "copied", "-o", "type=oci,dest=copied.tar,compression=uncompressed", "packages")
	s.build(t, "--target", "1", "packages")
	base := mustFiles(t, s.path("base.tar"))
	compareWithRoot(t, chroot, base)
	checkCopied(t, base["srv/for-www"], mustFiles(t, s.path("copied.tar")))
}

// installResolvconf installs a package that puts a link in the place of /etc/resolv.conf, which steps go on resolving
// names with.
func installResolvconf(t *testing.T, s *site) {
	t.Helper()
	s.write(t, "resolv/Containerfile", `FROM debian AS app
RUN rm -f /etc/resolv.conf
RUN DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends resolvconf && test -L /etc/resolv.conf
RUN test "$(readlink /etc/resolv.conf)" = ../run/resolvconf/resolv.conf && echo '192.0.2.7 kept' >>/etc/hosts && echo kept >/etc/hostname
RUN cd /tmp && apt-get -q download resolvconf && rm resolvconf_*.deb
RUN rm -r /run/resolvconf
RUN cd /tmp && apt-get -q download resolvconf && rm resolvconf_*.deb
FROM debian
RUN --mount=from=app,target=/app test "$(readlink /app/etc/resolv.conf)" = ../run/resolvconf/resolv.conf
RUN --mount=from=app,target=/app test "$(cat /app/etc/hostname)" = kept && grep -qx '192.0.2.7 kept' /app/etc/hosts
RUN --mount=from=app,target=/app test ! -e /app/run/resolvconf/resolv.conf
`)
	s.build(t, "resolv")
}

// ram is a directory of real root's in the site, which is in memory if there is enough: dpkg waits for the disk after
// every file.
func (s *site) ram(t *testing.T) string {
	t.Helper()
	dir := s.path("ram")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// installAsRoot unpacks the archive and does the build's installation in it.
func installAsRoot(chroot, archive string) error {
	if err := os.Mkdir(chroot, 0o755); err != nil {
		return err
	}
	script := fmt.Sprintf(`set -e
tar --xattrs --xattrs-include='*' --numeric-owner -xpf %[2]s -C %[1]s
mount -t proc none %[1]s/proc; mount --rbind /dev %[1]s/dev; cp -L /etc/resolv.conf %[1]s/etc/resolv.conf
chroot %[1]s /bin/sh -ec "$1"`, chroot, archive)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", debianInstall)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install as root: %w\n%s", err, tail(string(out)))
	}
	return nil
}

// debootstrap makes an archive of a minimal Debian, with what this machine's apt is told, working in dir. The lists of
// packages stay in it: to fetch and unpack them takes as long as the small installations that are made of it.
func debootstrap(dest, dir string) error {
	args := []string{"--variant=minbase", "--mode=root", "--include=ca-certificates", "--format=tar",
		"--skip=cleanup/apt/lists"}
	confs, err := filepath.Glob("/etc/apt/apt.conf.d/*proxy*")
	if err != nil {
		return err
	}
	more, err := filepath.Glob("/etc/apt/apt.conf.d/99*")
	if err != nil {
		return err
	}
	for _, c := range append(confs, more...) {
		args = append(args, "--customize-hook=copy-in "+c+" /etc/apt/apt.conf.d", "--aptopt="+c)
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return err
	}
	suite := "stable"
	if _, rest, ok := strings.Cut(string(release), "VERSION_CODENAME="); ok {
		suite, _, _ = strings.Cut(rest, "\n")
	}
	cmd := exec.Command("mmdebstrap", append(args, strings.Trim(suite, `"`), dest)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mmdebstrap: %w\n%s", err, tail(string(out)))
	}
	return nil
}

// snakeoil is a certificate made for the host name; the name of a link to it is a hash of that.
const snakeoil = "ssl-cert-snakeoil.pem"

// compareWithRoot holds owners, modes, types, links, sizes and capabilities of an image against a directory.
func compareWithRoot(t *testing.T, dir string, image map[string]entry) {
	t.Helper()
	wanted := map[string]string{}
	links := map[uint64][]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if to, err := os.Readlink(path); varies(name) || (err == nil && to == snakeoil) {
			if d.IsDir() && name != "." && name != "" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: no stat", path)
		}
		if info.Mode().IsRegular() && st.Nlink > 1 {
			links[st.Ino] = append(links[st.Ino], name)
		}
		wanted[name] = describe(path, info, st)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	complain := func(format string, args ...any) {
		if wrong++; wrong <= 40 {
			t.Errorf(format, args...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		e, ok := image[name]
		if !ok {
			complain("%s is not in the image", name)
			continue
		}
		if got := describeEntry(image, e); got != wanted[name] {
			complain("%s: %s in the image, %s as root", name, got, wanted[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(image)) {
		if _, ok := wanted[name]; !ok && image[name].Header.Linkname != snakeoil && name != "" && name != "." &&
			!varies(name) && !below(name, varies) {
			complain("%s is only in the image", name)
		}
	}
	for _, names := range links {
		for _, n := range names {
			if a, b := target(image, names[0]), target(image, n); a != b {
				complain("%s and %s are one file as root, not in the image", names[0], n)
			}
		}
	}
	if len(wanted) < 5000 || len(links) < 1 {
		t.Errorf("only %d files and %d hard links to compare with", len(wanted), len(links))
	}
	t.Logf("%d files, %d with several names, %d differences", len(wanted), len(links), wrong)
}

func below(name string, is func(string) bool) bool {
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if is(dir) {
			return true
		}
	}
	return false
}

// varies tells whether a file differs between two runs of the same installation, or comes from the machine.
func varies(name string) bool {
	switch name {
	case ".", "proc", "sys", "dev", "etc/resolv.conf", "etc/hosts", "etc/hostname", "run", "tmp":
		return true
	}
	return false
}

func describe(path string, info fs.FileInfo, st *syscall.Stat_t) string {
	text := fmt.Sprintf("%s %04o %d:%d", info.Mode().Type(), st.Mode&0o7777, st.Uid, st.Gid)
	if info.Mode()&fs.ModeSymlink != 0 {
		to, _ := os.Readlink(path)
		return text + " -> " + to
	}
	value := make([]byte, 256)
	if n, err := unix.Lgetxattr(path, "security.capability", value); err == nil {
		text += fmt.Sprintf(" cap %x", value[:n])
	}
	return text
}

// describeEntry says the same of an image's file; a hard link is what it links to.
func describeEntry(image map[string]entry, e entry) string {
	if e.Header.Typeflag == tar.TypeLink {
		e = image[strings.Trim(strings.TrimPrefix(e.Header.Linkname, "./"), "/")]
		if e.Header == nil {
			return "a link to nothing"
		}
	}
	h := e.Header
	text := fmt.Sprintf("%s %04o %d:%d", h.FileInfo().Mode().Type(), h.Mode&0o7777, h.Uid, h.Gid)
	if h.Typeflag == tar.TypeSymlink {
		return text + " -> " + h.Linkname
	}
	if value, ok := h.PAXRecords["SCHILY.xattr.security.capability"]; ok {
		text += fmt.Sprintf(" cap %x", value)
	}
	return text
}

// target is the name of the entry that holds a file's content.
func target(image map[string]entry, name string) string {
	if e := image[name]; e.Header != nil && e.Header.Typeflag == tar.TypeLink {
		return strings.Trim(strings.TrimPrefix(e.Header.Linkname, "./"), "/")
	}
	return name
}

// checkCopied looks at what a second stage copied.
func checkCopied(t *testing.T, owner entry, files map[string]entry) {
	t.Helper()
	if got := files["srv2/for-www"]; got.Header == nil || got.Header.Uid != 33 || got.Header.Gid != 4 ||
		got.Header.Mode&0o7777 != 0o6751 {
		t.Errorf("copied from the stage: %s, it was %s", got.stringOrNone(got.Header != nil),
			owner.stringOrNone(owner.Header != nil))
	}
	if target(files, "srv2/links/1") != target(files, "srv2/links/2") && target(files, "srv2/links/2") != "srv2/links/1" {
		t.Error("a hard link was copied as two files")
	}
	if got := files["bin2/passwd"]; got.Header == nil || got.Header.Mode&0o7777 != 0o4755 {
		t.Errorf("bin2/passwd: %s", got.stringOrNone(got.Header != nil))
	}
}
