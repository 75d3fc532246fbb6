package tests_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A site is a directory with a home, a store and a configuration of its own, for one test in one mode.
type site struct {
	mode mode
	dir  string
	env  []string
	// number is no other site's on this machine, for command lines that must be told from those of other tests.
	number uint64
}

// lastSite is the number of the last site of this process.
var lastSite atomic.Uint32

// newSite makes a site that goes when the test ends. If root runs the tests it is in memory.
func newSite(t *testing.T, m mode) *site {
	t.Helper()
	return newSiteIn(t, m, suite.dir)
}

// newSiteOnDisk makes a site as newSite does, on the disk in any case.
func newSiteOnDisk(t *testing.T, m mode) *site {
	t.Helper()
	return newSiteIn(t, m, suite.disk)
}

func newSiteIn(t *testing.T, m mode, parent string) *site {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "s-")
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSite(m, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openSite makes a site of a directory and what is in it.
func openSite(m mode, dir string) (*site, error) {
	s := &site{mode: m, dir: dir, number: uint64(os.Getpid())<<16 + uint64(lastSite.Add(1))}
	for name, perm := range map[string]os.FileMode{"home": 0o755, "run": 0o700, "tmp": 0o755} {
		if err := os.MkdirAll(s.path(name), perm); err != nil {
			return nil, err
		}
	}
	if err := s.configure(); err != nil {
		return nil, err
	}
	if os.Getuid() != 0 {
		return s, nil
	}
	return s, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, m.UID, m.GID)
	})
}

// configure keeps podman and its relatives away from the machine's own state. runc can deal with every cgroup
// hierarchy; crun refuses the hybrid one. A run root of more than 50 characters is refused by the process that podman
// (4.3) has clean up after a container, and whoever waits for the container's end waits 20 seconds longer.
func (s *site) configure() error {
	containers := `[containers]
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
`
	s.env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + s.path("home"), "USER=" + s.mode.User,
		"TMPDIR=" + s.path("tmp"), "XDG_RUNTIME_DIR=" + s.path("run"), "CONTAINERS_CONF=" + s.path("containers.conf"),
		siteMark + "=" + s.dir,
	}
	if s.mode.root() {
		// Only ordinary users have one of their own.
		s.env = append(s.env, "CONTAINERS_STORAGE_CONF="+s.storageConf())
	}
	return errors.Join(
		os.WriteFile(s.path("containers.conf"), []byte(containers), 0o644),
		s.configureStorage("overlay", ""),
	)
}

func (s *site) storageConf() string { return s.path("home/.config/containers/storage.conf") }

// configureStorage writes storage.conf; program is overlay's mount program, empty for none.
func (s *site) configureStorage(driver, program string) error {
	text := fmt.Sprintf("[storage]\ndriver = %q\ngraphroot = %q\nrunroot = %q\n", driver, s.store(), s.path("run/c"))
	if program != "" {
		text += fmt.Sprintf("[storage.options.overlay]\nmount_program = %q\n", program)
	}
	return errors.Join(os.MkdirAll(filepath.Dir(s.storageConf()), 0o755), os.WriteFile(s.storageConf(), []byte(text),
		0o644))
}

// siteMark is the environment variable by which a site's processes are known.
const siteMark = "COOPER_E2E_SITE"

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

// store is the directory of the image store: the user's default one, or what storage.conf says to root.
func (s *site) store() string { return s.path("home/.local/share/containers/storage") }

// remove ends what is left of the site: podman keeps a process per user, and the kernel driver's mount stays with root.
func (s *site) remove() error {
	// A process that is killed is the user's until it has ended: userdel would refuse.
	const ending = 2 * time.Second
	for _, pid := range s.processes() {
		err := syscall.Kill(pid, syscall.SIGKILL)
		for end := time.Now().Add(ending); err == nil && time.Now().Before(end); time.Sleep(time.Millisecond) {
			err = syscall.Kill(pid, 0)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	if err := s.unmount(); err != nil {
		return err
	}
	return removeTree(s.dir)
}

func (s *site) unmount() error {
	if os.Getuid() != 0 {
		return nil
	}
	mounts := s.mounts()
	for i := len(mounts) - 1; i >= 0; i-- {
		if err := syscall.Unmount(mounts[i], syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			return fmt.Errorf("unmount %s: %w", mounts[i], err)
		}
	}
	return nil
}

// removeTree removes a tree that may hold files of subordinate IDs.
func removeTree(dir string) error {
	if os.Getuid() == 0 {
		return os.RemoveAll(dir)
	}
	return tool("buildah", "unshare", "rm", "-rf", dir)
}

// A result is what became of a command.
type result struct {
	Stdout, Stderr string
	// Code is the exit status; -1 if a signal ended the process.
	Code int
}

// command prepares a program to be run with the site's user and environment, in the site's directory.
func (s *site) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	if os.Getuid() == 0 && !s.mode.root() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
			Uid: uint32(s.mode.UID), Gid: uint32(s.mode.GID), Groups: []uint32{uint32(s.mode.GID)},
		}}
	}
	return cmd
}

func runCommand(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{Stdout: out.String(), Stderr: errs.String(), Code: cmd.ProcessState.ExitCode()}
}

// cooper runs cooper, whatever its exit status.
func (s *site) cooper(t *testing.T, args ...string) result {
	t.Helper()
	return runCommand(t, s.command(suite.cooper, args...))
}

// build runs cooper build, which must succeed, and returns the image ID.
func (s *site) build(t *testing.T, args ...string) string {
	t.Helper()
	r := s.cooper(t, append([]string{"build"}, args...)...)
	if r.Code != 0 {
		t.Fatalf("cooper build %s: status %d\n%s", strings.Join(args, " "), r.Code, tail(r.Stderr))
	}
	return strings.TrimSpace(r.Stdout)
}

// run runs another program, which must succeed, and returns its output.
func (s *site) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	r := runCommand(t, s.command(name, args...))
	if r.Code != 0 {
		t.Fatalf("%s %s: status %d\n%s%s", name, strings.Join(args, " "), r.Code, tail(r.Stdout), tail(r.Stderr))
	}
	return r.Stdout
}

// tail is the end of a long text.
func tail(text string) string {
	const most = 4000
	if len(text) > most {
		return "[...]" + text[len(text)-most:]
	}
	return text
}

// write makes a file of the site's user and the directories above it.
func (s *site) write(t *testing.T, name, text string) {
	t.Helper()
	path := s.path(name)
	s.mkdir(t, filepath.Dir(name))
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), s.own(path)); err != nil {
		t.Fatal(err)
	}
}

func (s *site) mkdir(t *testing.T, name string) {
	t.Helper()
	path := s.path(name)
	if _, err := os.Lstat(path); err == nil {
		return
	}
	if name != "." {
		s.mkdir(t, filepath.Dir(name))
	}
	if err := errors.Join(os.Mkdir(path, 0o755), s.own(path)); err != nil {
		t.Fatal(err)
	}
}

func (s *site) own(path string) error {
	if os.Getuid() != 0 {
		return nil
	}
	return os.Lchown(path, s.mode.UID, s.mode.GID)
}

// busybox makes a base image with a shell.
func (s *site) busybox(t *testing.T, name string) {
	t.Helper()
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	s.build(t, "-q", "-t", name, "-f", s.path("busybox/Base"), s.path("busybox"))
}

// basefile makes the base of most tests: of one archive, in one step, for it is made more than two hundred times.
const basefile = `FROM scratch
ADD base.tar /
ENV PATH=/bin
CMD ["/bin/sh"]
`

// busyboxfile makes the same of its files by COPY and RUN, for what is about the steps themselves.
const busyboxfile = `FROM scratch
COPY --chmod=755 busybox links.tar /bin/
RUN ["/bin/busybox", "tar", "-xf", "/bin/links.tar", "-C", "/bin"]
COPY etc /etc
RUN mkdir -m 1777 /tmp && mkdir -p -m 700 /root /var/empty
ENV PATH=/bin
CMD ["/bin/sh"]
`

// users and groups are those of the busybox image.
const (
	users  = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nalice:x:1000:1000::/home/alice:/bin/sh\n"
	groups = "root:x:0:\nwww-data:x:33:\nalice:x:1000:\nstaff:x:50:alice\n"
)

// makeBusybox writes the context of the busybox image.
func (s *site) makeBusybox() error {
	if err := os.MkdirAll(s.path("busybox/etc"), 0o755); err != nil {
		return err
	}
	made, err := busyboxBase()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(s.path("busybox/busybox"), made.program, 0o755),
		os.WriteFile(s.path("busybox/base.tar"), made.archive, 0o644),
		os.WriteFile(s.path("busybox/links.tar"), made.links, 0o644),
		os.WriteFile(s.path("busybox/etc/passwd"), []byte(users), 0o644),
		os.WriteFile(s.path("busybox/etc/group"), []byte(groups), 0o644),
		os.WriteFile(s.path("busybox/Base"), []byte(basefile), 0o644),
		os.WriteFile(s.path("busybox/Containerfile"), []byte(busyboxfile), 0o644),
	)
}

// applets are those of busybox's programs that steps use: with links for all 269 the base image takes nearly twice the
// time to make, to read and to remove, and each layer of vfs is a copy of it.
const applets = "[ ash awk base64 basename cat chgrp chmod chown chroot cmp cp cut date dd df diff dirname du echo env expr " +
	"false find free getopt grep groups gzip head hostname id ip kill ln ls mkdir mkfifo mknod mktemp mount mv nc nproc " +
	"nsenter od passwd pivot_root printf ps pwd readlink realpath rm rmdir sed seq setpriv setsid sh sha256sum sleep sort " +
	"stat strings stty su sync sysctl tail tar tee test time timeout top touch tr true truncate tty umount uname uniq " +
	"unshare wc wget which who whoami xargs xz yes"

// busyboxBase is this machine's static busybox, the archive of a root file system of it, and that of the links in its
// /bin.
var busyboxBase = sync.OnceValues(func() (made struct{ program, archive, links []byte }, err error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return made, err
	}
	if made.program, err = os.ReadFile(path); err != nil {
		return made, err
	}
	dirs := []tar.Header{{Name: "bin", Mode: 0o755}, {Name: "etc", Mode: 0o755}, {Name: "root", Mode: 0o700},
		{Name: "tmp", Mode: 0o1777}, {Name: "var", Mode: 0o755}, {Name: "var/empty", Mode: 0o700}}
	for i := range dirs {
		dirs[i].Typeflag = tar.TypeDir
	}
	file := func(name string, mode int64, data []byte) archiveFile {
		return archiveFile{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, data}
	}
	var links, root []archiveFile
	for _, h := range dirs {
		root = append(root, archiveFile{h, nil})
	}
	root = append(root, file("bin/busybox", 0o755, made.program), file("etc/passwd", 0o644, []byte(users)),
		file("etc/group", 0o644, []byte(groups)))
	for name := range strings.FieldsSeq(applets) {
		link := tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "/bin/busybox", Mode: 0o777}
		links = append(links, archiveFile{link, nil})
		link.Name = "bin/" + name
		root = append(root, archiveFile{link, nil})
	}
	made.links, err = archiveOf(links)
	if err != nil {
		return made, err
	}
	made.archive, err = archiveOf(root)
	return made, err
})

// An archiveFile is an entry of an archive, without its size and time.
type archiveFile struct {
	header tar.Header
	data   []byte
}

// archiveOf is an archive of files that are as old as the epoch.
func archiveOf(files []archiveFile) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		f.header.Size, f.header.ModTime = int64(len(f.data)), time.Unix(1, 0)
		if err := w.WriteHeader(&f.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}
