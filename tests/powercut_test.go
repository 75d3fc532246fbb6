package tests_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// powerCuts is how often the power is cut; a hundred times take a quarter of an hour. Six are one for each
// user and file system.
var powerCuts = flag.Int("powercuts", 6, "how often TestAsRootPowerCut cuts the power")

// TestAsRootPowerCut stops the store's file system at random points of builds, or just after they have succeeded, and
// mounts what the disk holds then: whatever was reported is there, nothing that is there is wrong, and builds go on.
func TestAsRootPowerCut(t *testing.T) {
	t.Parallel()
	source := newSite(t, suite.modes[0])
	address, _ := source.startRegistry(t)
	source.busybox(t, "base")
	base := address + "/lib/base:1"
	source.pushAs(t, "oci", "localhost/base:latest", base)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for n := range *powerCuts {
		m := suite.modes[n/3%len(suite.modes)]
		kind := []string{"ext4", "xfs", "btrfs"}[n%3]
		t.Run(fmt.Sprint(n, " ", kind, " ", m.Name), func(t *testing.T) {
			t.Parallel()
			cutOnce(t, m, kind, base, rand.New(rand.NewPCG(seed, uint64(n))))
		})
	}
}

// poweredSite is a site with a store on a disk whose power can be cut.
type poweredSite struct {
	*site
	disk *powerDisk
	base string
	// done are the images that builds have reported, by name.
	done map[string]string
}

func cutOnce(t *testing.T, m mode, kind, base string, random *rand.Rand) {
	s := &poweredSite{site: newSite(t, m), base: base, done: map[string]string{}}
	s.disk = s.newDisk(t, kind)
	data := make([]byte, 300<<10)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	s.mkdir(t, "ctx")
	for i := range 5 {
		s.write(t, fmt.Sprint("ctx/data/", i), string(data[i*1000:]))
	}
	if err := errors.Join(copyBusybox(s.path("ctx/busybox")), s.makeBusybox()); err != nil {
		t.Fatal(err)
	}
	s.write(t, "ctx/SUMS", s.run(t, "sh", "-c", "cd ctx && sha256sum data/* busybox"))
	s.write(t, "ctx/Containerfile",
		"FROM "+base+" AS one\nRUN --mount=type=cache,target=/cache echo x >>/cache/x; for i in $(seq 100); do echo $i >/$i; done\n"+
			"FROM "+base+"\nCOPY . /c/\nRUN cp -r /c /d\nCOPY --from=one /1 /2 /\nRUN cd /d && sha256sum -c SUMS\n")
	s.write(t, "ctx/Fresh", "FROM scratch\nCOPY . /c/\n")
	// The power goes between two builds, or in the midst of one.
	whole, part := random.IntN(5), time.Duration(random.IntN(1000))*time.Millisecond
	if random.IntN(3) == 0 {
		part = -1
	}
	cut := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.buildUntil(t, cut, whole, part)
	}()
	<-cut
	s.disk.cut(t)
	<-ended
	s.disk.restore(t)
	s.checkAfterCut(t)
}

// onDisk are the flags for a store on the disk.
func (s *poweredSite) onDisk(args ...string) []string {
	return append(args, "--root", s.path("disk/s"), "--runroot", s.path("disk/r"))
}

// buildUntil builds one thing after the other. When so many have been built, or that long after, cut is closed; it ends
// with the first failure.
func (s *poweredSite) buildUntil(t *testing.T, cut chan struct{}, whole int, part time.Duration) {
	for n := 0; ; n++ {
		if n == whole && part >= 0 {
			time.AfterFunc(part, func() { close(cut) })
		}
		name := fmt.Sprintf("localhost/app%d:latest", n)
		args := s.onDisk("build", "-q", "--tls-verify=false", "-t", name, "--iidfile", s.path("disk/iid"))
		switch n % 3 {
		case 1:
			args = append(args, "--no-cache", "-o", "type=oci,dest="+s.path(fmt.Sprintf("disk/out%d.tar", n)))
		case 2:
			args = append(args, "-f", "ctx/Fresh", "--label", fmt.Sprint("n=", n))
		}
		var errs bytes.Buffer
		cmd := s.command(suite.cooper, append(args, "ctx")...)
		cmd.Stderr = &errs
		id, err := cmd.Output()
		if strings.Contains(errs.String(), "goroutine ") || strings.Contains(errs.String(), "panic") {
			t.Errorf("a build without a disk panics:\n%s", tail(errs.String()))
		}
		if err != nil {
			if code := cmd.ProcessState.ExitCode(); code != 125 && code != 1 {
				t.Errorf("a build without a disk has status %d:\n%s", code, tail(errs.String()))
			}
			return
		}
		select {
		case <-cut:
			return // nobody knows whether it was before that
		default:
		}
		s.done[name] = strings.TrimPrefix(strings.TrimSpace(string(id)), "sha256:")
		if n == whole && part < 0 {
			close(cut)
			return
		}
	}
}

// checkAfterCut looks at everything that is on the disk, with every reader.
func (s *poweredSite) checkAfterCut(t *testing.T) {
	s.write(t, "verify/Containerfile",
		"ARG FROM\nFROM $FROM\nRUN --mount=from=localhost/verifier,target=/v [\"/v/bin/busybox\", \"sh\", \"-c\", "+
			"\"cd /c && /v/bin/busybox sha256sum -c SUMS\"]\n")
	if r := s.cooper(t, s.onDisk("df")...); r.Code != 0 {
		t.Errorf("df: status %d\n%s", r.Code, tail(r.Stderr))
	}
	s.build(t, s.onDisk("-q", "--tls-verify=false", "-t", "again", "ctx")...)
	s.build(t, s.onDisk("-q", "--tls-verify=false", "-f", "busybox/Containerfile", "-t", "verifier", "busybox")...)
	names := []string{"localhost/again"}
	for name, id := range s.done {
		names = append(names, name)
		got := s.run(t, "podman", s.onDisk("image", "inspect", "--format", "{{.Id}}", name)...)
		if strings.TrimSpace(got) != id {
			t.Errorf("%s was reported as %s and is %s", name, id, got)
		}
	}
	for _, name := range names {
		s.build(t, s.onDisk("-q", "--pull=never", "--build-arg", "FROM="+name, "verify")...)
	}
	for _, id := range strings.Fields(s.run(t, "podman", s.onDisk("images", "-qa", "--no-trunc")...)) {
		from := fmt.Sprintf("containers-storage:[overlay@%s+%s]%s", s.path("disk/s"), s.path("disk/r"),
			strings.TrimPrefix(id, "sha256:"))
		s.run(t, "sh", "-c", "if test $(id -u) = 0; then exec \"$@\"; else exec podman unshare \"$@\"; fi", "sh",
			"skopeo", "--insecure-policy", "copy", "-q", from, "dir:"+s.path("tmp/copy"))
		if err := os.RemoveAll(s.path("tmp/copy")); err != nil {
			t.Fatal(err)
		}
	}
	outs, err := filepath.Glob(s.path("disk/out*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range outs {
		mustLayout(t, out)
	}
	if iid, err := os.ReadFile(s.path("disk/iid")); err == nil && len(iid) != len("sha256:")+64 || err != nil &&
		len(s.done) > 0 {
		t.Errorf("the file with the ID holds %q: %v", iid, err)
	}
}

// TestAsRootDiskThatFails takes the disk away under every verb that opens a store, and under a step that runs: all end
// with one sentence, and leave nothing.
func TestAsRootDiskThatFails(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := &poweredSite{site: newSite(t, m)}
		s.disk = s.newDisk(t, "ext4")
		if err := s.makeBusybox(); err != nil {
			t.Fatal(err)
		}
		s.build(t, s.onDisk("-q", "-t", "base", "busybox")...)
		sleep := fmt.Sprintf("sleep 1000.%d", s.number)
		s.write(t, "ctx/Containerfile", "FROM base\nRUN echo be''gun; "+sleep+"\n")
		cmd := s.command(suite.cooper, s.onDisk("build", "--progress=plain", "ctx")...)
		text := newWaitFor("begun")
		cmd.Stdout, cmd.Stderr = text, text
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		text.wait(t)
		s.disk.cut(t)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // by the signal
		if code := cmd.ProcessState.ExitCode(); code != 128+int(unix.SIGINT) && code != 125 ||
			strings.Contains(text.seen.String(), "goroutine ") {
			t.Errorf("the build under way ends with status %d:\n%s", code, tail(text.seen.String()))
		}
		for _, verb := range [][]string{{"build", "ctx"}, {"df"}, {"prune", "--force"}} {
			r := s.cooper(t, s.onDisk(verb...)...)
			r.fails(t, 125, "input/output error", "hint: ")
			if said := strings.TrimSpace(r.Stderr); strings.Contains(said, "goroutine ") || strings.Count(said, "\n") > 3 {
				t.Errorf("cooper %s doesn't say it in one sentence:\n%s", verb[0], tail(said))
			}
		}
		for _, verb := range [][]string{{"doctor"}, {"check", "ctx"}} {
			if r := s.cooper(t, s.onDisk(verb...)...); strings.Contains(r.Stdout+r.Stderr, "goroutine ") {
				t.Errorf("cooper %s panics:\n%s", verb[0], tail(r.Stderr))
			}
		}
		left := s.leftProcesses([]string{sleep}) // the disk stays mounted
		eventually(t, func() string { return fmt.Sprint(left.errors()) }, func() bool {
			left.dropEnded()
			return len(left) == 0
		})
	})
}

// powerDisk is a file system, mounted on a site's "disk", that can be stopped as by a power cut.
type powerDisk struct {
	site *site
	kind string
	// image holds the file system, and next what the disk holds after the cut.
	image, next string
}

// newDisk makes a disk. One of btrfs, which can't be asked to stop, is in a file of an xfs, which can give a copy of a
// file as it is at a moment.
func (s *site) newDisk(t *testing.T, kind string) *powerDisk {
	t.Helper()
	d := &powerDisk{site: s, kind: kind, image: s.path("disk.img"), next: s.path("next.img")}
	s.mkdir(t, "disk")
	if kind == "btrfs" {
		s.mkdir(t, "host")
		d.format(t, "xfs", s.path("host.img"))
		d.mount(t, s.path("host.img"), s.path("host"))
		d.image, d.next = s.path("host/disk.img"), s.path("host/next.img")
	}
	d.format(t, kind, d.image)
	d.mount(t, d.image, s.path("disk"))
	d.tool(t, "chown", fmt.Sprintf("%d:%d", s.mode.UID, s.mode.GID), s.path("disk"))
	d.tool(t, "sync", "-f", s.path("disk"))
	return d
}

func (d *powerDisk) tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if err := tool(name, args...); err != nil {
		t.Fatal(err)
	}
}

func (d *powerDisk) format(t *testing.T, kind, image string) {
	t.Helper()
	const size = 1 << 30
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	d.tool(t, "mkfs."+kind, "-q", image)
}

// mount mounts an image until the test ends. Another test's namespace may hold it for longer.
func (d *powerDisk) mount(t *testing.T, image, dir string, options ...string) {
	t.Helper()
	d.tool(t, "mount", "-o", strings.Join(append(options, "loop"), ","), image, dir)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() }) // it may have been unmounted already
}

// The ways for a file system to go down, of the ioctl that ext4 has from xfs.
const (
	goDown     = 0x8004587d
	logFlush   = 1
	noLogFlush = 2
)

func (d *powerDisk) cut(t *testing.T) {
	t.Helper()
	if d.kind == "btrfs" {
		d.tool(t, "cp", "--reflink=always", d.image, d.next)
		// What is built from now on is on a disk that is no more.
		return
	}
	dir, err := os.Open(d.site.path("disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), goDown, logFlush+rand.IntN(noLogFlush)); err != nil {
		t.Fatal(err)
	}
}

// restore mounts what the disk holds. A copy is another disk: namespaces of others may keep the first one alive.
func (d *powerDisk) restore(t *testing.T) {
	t.Helper()
	d.tool(t, "umount", "-l", d.site.path("disk"))
	var options []string
	switch d.kind {
	case "xfs":
		options = []string{"nouuid"}
		fallthrough
	case "ext4":
		d.tool(t, "cp", "--sparse=always", d.image, d.next)
	}
	d.mount(t, d.next, d.site.path("disk"), options...)
}
