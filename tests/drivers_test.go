package tests_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A driverCase is a way to keep layers that every image must come out of the same.
type driverCase struct {
	name string
	args []string
	// program is overlay's mount program; empty: the kernel.
	program string
}

func driverCases(t *testing.T) []driverCase {
	t.Helper()
	fuse, err := exec.LookPath("fuse-overlayfs")
	if err != nil {
		t.Fatal(err)
	}
	return []driverCase{
		{"overlay", []string{"--storage-driver", "overlay"}, ""},
		{"vfs", []string{"--storage-driver", "vfs"}, ""},
		{"fuse-overlayfs", []string{"--storage-driver", "overlay", "--storage-opt", "overlay.mount_program=" + fuse}, fuse},
	}
}

// driversOf are the drivers that a user's test goes through where another test has each of them for each user: beside
// the ordinary user root has overlay alone, for with another driver its builds do what the ordinary user's do.
func driversOf(t *testing.T, m mode) []driverCase {
	t.Helper()
	all := driverCases(t)
	if m.root() && len(suite.modes) > 1 {
		return all[:1]
	}
	return all
}

// newDriverSite makes a site whose storage.conf names the driver.
func newDriverSite(t *testing.T, m mode, d driverCase) *site {
	t.Helper()
	s := newSite(t, m)
	if err := s.configureStorage(d.args[1], d.program); err != nil {
		t.Fatal(err)
	}
	return s
}

// contractFile has every kind of change that a layer can hold. The ls is for fuse-overlayfs 1.10, in which files of the
// lower layers come back in a directory that was removed and made again, unless the directory is read before they are
// looked up.
const contractFile = `FROM scratch AS base
COPY --chmod=755 busybox links.tar /bin/
RUN ["/bin/busybox", "tar", "-xf", "/bin/links.tar", "-C", "/bin"]
COPY etc /etc
RUN mkdir -p /tree/a/b /tree/gone/deep /tree/opaque/old && echo 1 >/tree/a/1 && echo 2 >/tree/a/b/2 && echo 3 >/tree/gone/deep/3 \
 && echo old >/tree/opaque/old/file && echo m >/tree/mode && echo o >/tree/owner && echo file >/tree/becomesdir && mkdir /tree/becomesfile && ln -s a /tree/link
FROM base
RUN rm -r /tree/gone /tree/a/1
RUN rm -r /tree/opaque && mkdir /tree/opaque && echo new >/tree/opaque/new; ls /tree/opaque
RUN chmod 4711 /tree/mode && chown 33:50 /tree/owner
RUN chown 1000:1000 /tree/a && chmod 1775 /tree/a
RUN rm /tree/becomesdir && mkdir /tree/becomesdir && echo x >/tree/becomesdir/x && rmdir /tree/becomesfile && echo y >/tree/becomesfile
RUN mkfifo /tree/fifo && echo h >/tree/hard1 && ln /tree/hard1 /tree/hard2 && ln -s 'nowhere at all' /tree/dangling
RUN mv /tree/a/b /tree/moved && echo appended >>/tree/moved/2
RUN chmod 700 /tree && chmod 755 /
RUN true
RUN touch /tree/temp && rm /tree/temp && echo kept >/tree/kept
WORKDIR /made/by/workdir
COPY --chown=33:33 etc /copied
COPY --from=base /tree /again
RUN mkdir -p /under/dir/x /under/file && ln -s dir /under/link && echo f >/under/plain && chown -R 33:50 /under && chmod 700 /under
COPY --link --chown=7:8 etc /under/link/deep
COPY --link etc/passwd /under/file
COPY --link etc /under/plain
RUN touch -d @1000000000 /tree/owner
USER 33:33
RUN if echo x >/etc/passwd; then exit 1; fi; id -u | grep -qx 33
`

// TestDriversGiveTheSameLayers builds one image with every driver and holds the layers against those of overlay.
func TestDriversGiveTheSameLayers(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		var want string
		for _, d := range driverCases(t) {
			t.Run(d.name, func(t *testing.T) {
				s := newSiteOnDisk(t, m)
				if err := s.makeBusybox(); err != nil {
					t.Fatal(err)
				}
				s.write(t, "busybox/Contract", contractFile)
				args := append([]string{"-f", "busybox/Contract", "-o", "type=oci,compression=uncompressed,dest=app.tar", "-t",
					"app", "--root",
					s.path("store"),
					"--runroot", s.path("runroot"), "--metadata-file", "meta"}, d.args...)
				id := s.build(t, append(args, "busybox")...)
				s.checkNoLeftovers(t)
				got := mustLayout(t, s.path("app.tar")).states(t)
				if want == "" {
					want = got
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the layers differ from those of overlay (-overlay +%s):\n%s", d.name, diff)
				}
				if again := s.build(t, append(args, "busybox")...); again != id {
					t.Errorf("the second build gave %s, not %s", again, id)
				}
				text, err := os.ReadFile(s.path("meta"))
				if err != nil {
					t.Fatal(err)
				}
				var steps, cached int
				for line := range strings.Lines(string(text)) {
					_, _ = fmt.Sscanf(strings.TrimSpace(line), `"cooper.steps": %d`, &steps)
					_, _ = fmt.Sscanf(strings.TrimSpace(line), `"cooper.cached": %d`, &cached)
				}
				if steps == 0 || steps != cached {
					t.Errorf("the second build took %d of %d steps from the cache", cached, steps)
				}
				if d.name == "overlay" {
					s.checkContract(t)
				}
			})
		}
	})
}

// states lists what a container of each layer and those below it sees. Layers that differ only in how they say that
// something is gone are equal: overlay knows that a directory was made anew, others see which of its files are missing.
func (l *layout) states(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	whole := *l
	for n := range l.layers {
		part := whole
		part.layers = whole.layers[:n+1]
		files, err := part.files()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(&b, "%d: %s %s\n", n, files[name], files[name].Content)
		}
	}
	return b.String()
}

// checkContract says what the layers put together must hold, in case all drivers are wrong in the same way.
func (s *site) checkContract(t *testing.T) {
	t.Helper()
	files := mustFiles(t, s.path("app.tar"))
	for name, want := range map[string]string{
		"tree/mode": "f 4711 0:0", "tree/owner": "f 0644 33:50", "tree/a": "d 1775 1000:1000",
		"tree/becomesdir/x": "f 0644 0:0",
		"tree/becomesfile":  "f 0644 0:0", "tree/opaque/new": "f 0644 0:0", "tree/moved/2": "f 0644 0:0",
		"tree":      "d 0700 0:0",
		"tree/fifo": "p 0644 0:0", "made/by/workdir": "d 0755 0:0", "copied/passwd": "f 0644 33:33",
		"again/gone/deep/3": "f 0644 0:0",
		"tree/dangling":     "l 0777 0:0",
	} {
		e, ok := files[name]
		if line := e.stringOrNone(ok); !strings.Contains(line, " "+want+" ") {
			t.Errorf("%s: %s, not %s", name, line, want)
		}
	}
	for _, name := range []string{"tree/gone", "tree/gone/deep/3", "tree/a/1", "tree/a/b", "tree/opaque/old",
		"tree/opaque/old/file", "tree/temp"} {
		if e, ok := files[name]; ok {
			t.Errorf("still there: %s", e)
		}
	}
}

func (e entry) stringOrNone(ok bool) string {
	if !ok {
		return "not there"
	}
	return e.String()
}
