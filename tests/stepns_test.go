package tests_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ownersFile makes a tree with owners at the edges of the map, with all that a change of owner could break, and changes
// it in another step. It leaves alone what is not the same with every driver: vfs keeps hard links to files of layers
// below, and fuse-overlayfs 1.10 loses set-ID bits when it copies up. The first step shows the map of its namespace.
const ownersFile = `FROM base
COPY Containerfile /
RUN cat /proc/self/uid_map >&2; mkdir /d && cd /d && for i in 0 1 33 1000 65533 65534 65535; do echo $i >f$i && chown $i:$i f$i || exit 1; done; chmod 4755 f33 && ln f33 hard && \
  ln -s f1 sym && chown -h 1000:1000 sym && mkdir sub plain && chown 33:1 sub && chmod 2775 sub && cp f1 cap && setcap cap_net_raw+ep cap && cp f1 cap2 && \
  chown 1000:1 cap2 && setcap cap_chown+p cap2 && setfacl -m u:65533:rw,g:33:r f1000 && getfacl -n f1000 | grep -q ^user:65533:rw-
RUN exec 2>&1; [ "$(stat -c %u:%g:%a /d/f33 /d/f65535 /d/sub /bin/busybox | tr '\n' ' ')" = "33:33:4755 65535:65535:644 33:1:2775 0:0:755 " ] && \
  [ "$(getcap /d/cap /d/cap2 | tr '\n' ' ')" = "/d/cap cap_net_raw=ep /d/cap2 cap_chown=p " ] && rm /d/f1 && chown 1:2 /d/f0 && chmod 700 /d/cap && \
  setcap cap_kill+ep /d/f1000 && chown -h 65535:33 /d/sym && mv /d/f65534 /d/plain/moved && setfacl -m u:1000:r /d/plain/moved
USER 1000:1000
WORKDIR /d/made
RUN id -u && cat /d/plain/moved && ! echo >/d/f33
USER 0
RUN getcap /d/cap | grep -q cap_net_raw=ep && cat /d/* >/dev/null 2>&1; true
COPY --from=base --chown=65535:1 /etc /copied
WORKDIR /none
RUN cd / && rmdir /none
RUN [ "$(pwd) $(stat -c %u:%g .)" = "/none 0:0" ]
`

// tools puts programs of this machine into a context, with the libraries that they need.
func (s *site) tools(t *testing.T, context string, names ...string) {
	t.Helper()
	for _, name := range names {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, context+"/bin/"+name, readFile(t, program))
		for word := range strings.FieldsSeq(s.run(t, "ldd", program)) {
			if strings.HasPrefix(word, "/") {
				s.write(t, context+word, readFile(t, word))
			}
		}
		err = filepath.WalkDir(s.path(context), func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chmod(path, 0o755))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// namespaceFlags are the flags of all the ways to run steps that m's user has, and how the map in the step then begins.
func namespaceFlags(m mode) map[string]string {
	if m.root() {
		return map[string]string{"--userns=host": "0 0 4294967295", "--userns=private": "0 ",
			"--uidmap=0:500000:65536": "0 500000 65536", "--userns=auto:size=65536": "0 "}
	}
	return map[string]string{
		"--userns=host": fmt.Sprintf("0 %d 1", m.UID), "--userns=keep-id": fmt.Sprintf("0 1 %d", m.UID),
		"--userns=nomap":                "0 1 65536",
		"--userns=keep-id:uid=33,gid=1": "0 1 33", "--uidmap=0:1:65536": "0 1 65536", "--uidmap=0:0:65536": "0 0 1",
		"--userns=auto:size=65536": "0 1 65536",
	}
}

// flagsFor are all of them for overlay, where each map is a matter of its own, and for another driver those that differ
// in how files get there: those of the caller, copies with other owners, and a range of the build's own.
func flagsFor(m mode, d driverCase) map[string]string {
	flags := namespaceFlags(m)
	if d.name != "overlay" {
		maps.DeleteFunc(flags, func(flag, _ string) bool {
			return !slices.Contains([]string{"--userns=host", "--userns=keep-id", "--userns=private",
				"--userns=auto:size=65536"}, flag)
		})
	}
	return flags
}

// sameImage is the image that all ways to build it must give.
type sameImage struct {
	mu        sync.Mutex
	first, id string
}

// add fails the test unless the image is the one of the first way that was added.
func (i *sameImage) add(t *testing.T, how, id string) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.id == "" {
		i.first, i.id = how, id
	}
	if id != i.id {
		t.Errorf("%s gives %s, %s %s", how, id, i.first, i.id)
	}
}

func TestImageIsTheSameInEveryUserNamespace(t *testing.T) {
	var images sameImage
	eachMode(t, func(t *testing.T, m mode) {
		for _, d := range driverCases(t) {
			// Each has its overlays mounted by the kernel and its files copied; a mount program knows of no owner but its own,
			// which is what the ordinary user's steps are about.
			if d.program != "" && m.root() && len(suite.modes) > 1 {
				continue
			}
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				s := newDriverSite(t, m, d)
				s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
				s.busybox(t, "box")
				// They are in the base, for each of these builds would copy and read them again, and vfs for each of its steps.
				s.write(t, "base/Containerfile", "FROM box\nCOPY tools /\n")
				s.tools(t, "base/tools", "setcap", "getcap", "setfacl", "getfacl")
				s.build(t, "-q", "-t", "base", "base")
				s.write(t, "ctx/Containerfile", ownersFile)
				for flag, wantMap := range flagsFor(m, d) {
					how := m.Name + " " + d.name + " " + flag
					id := s.buildInMap(t, how, wantMap, flag)
					images.add(t, how, id)
					if d.name == "overlay" || flag == "--userns=keep-id" || flag == "--userns=private" {
						how := "crun " + how
						images.add(t, how, s.buildInMap(t, how, wantMap, flag, "--isolation=oci", "--runtime=crun"))
					}
					again := s.cooper(t, "build", flag, "ctx")
					if got := strings.TrimSpace(again.Stdout); got != id || strings.Contains(again.Stderr, "DONE") &&
						!strings.Contains(again.Stderr, "CACHED") {
						t.Errorf("%s: a second build gave %s\n%s", how, got, again.Stderr)
					}
				}
				s.checkNoLeftovers(t)
			})
		}
	})
}

// buildInMap makes the image of ownersFile, whose first step must say that its map begins as wanted.
func (s *site) buildInMap(t *testing.T, how, wantMap string, flags ...string) (id string) {
	t.Helper()
	r := s.cooper(t, append([]string{"build", "--progress=plain", "--no-cache", "ctx"}, flags...)...)
	if r.Code != 0 || !strings.Contains(strings.Join(strings.Fields(r.Stderr), " "), " "+wantMap) {
		t.Errorf("%s: status %d, or the map isn't %s in\n%s", how, r.Code, wantMap, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// mountsFile has all kinds of mounts.
const mountsFile = `FROM base AS s
RUN mkdir /w && echo y >/w/y && chown 7:8 /w/y && chmod 600 /w/y
FROM base
RUN --mount=type=bind,from=s,target=/s --mount=type=bind,target=/c --mount=type=bind,from=s,source=/w,target=/rw,rw \
  --mount=type=cache,target=/cache,uid=7,gid=8 --mount=type=tmpfs,target=/t --mount=type=secret,id=k,uid=9 \
  stat -c %u:%g /s/w/y /rw/y /cache /t /run/secrets/k >/out && cat /c/Containerfile /s/w/y /run/secrets/k >/dev/null && \
  touch /c2 /rw/new && chown 5:5 /rw/y && echo more >>/cache/log && tr '\n' ' ' </cache/log >&2 && [ "$(tr '\n' ' ' </out)" = "7:8 7:8 7:8 0:0 9:0 " ]
`

func TestMountsInEveryUserNamespace(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, d := range driversOf(t, m) {
			s := newDriverSite(t, m, d)
			s.busybox(t, "base")
			s.write(t, "ctx/Containerfile", mountsFile)
			s.write(t, "key", "k")
			for flag := range flagsFor(m, d) {
				s.build(t, "-q", "--no-cache", "--secret=id=k,src="+s.path("key"), flag, "ctx")
				if d.name == "overlay" { // the cache is there the second time
					s.build(t, "-q", "--no-cache", "--secret=id=k,src="+s.path("key"), flag, "ctx")
				}
			}
			s.checkNoLeftovers(t)
		}
	})
}

// A step's root has all rights over the files of those whom its map has, and none over those of others.
func TestAsRootFilesOfOthersStayClosedInSteps(t *testing.T) {
	t.Parallel()
	for _, m := range suite.modes {
		if m.root() { // it takes root to make root's files, and another user to be kept out
			continue
		}
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile",
			"FROM base\nRUN for f in /v/secret /v/mine/f /v/roots/f; do cat $f 2>&1; done >&2; stat -c %u:%g /v/secret /v/mine /v/roots >&2\n")
		s.write(t, "v/mine/f", "user's\n")
		for name, text := range map[string]string{"v/secret": "root's secret\n", "v/roots/f": "root's\n"} {
			s.write(t, name, text)
			for _, err := range []error{os.Chown(s.path(name), 0, 0), os.Chmod(s.path(name), 0o600)} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, err := range []error{os.Chown(s.path("v/roots"), 0, 0), os.Chmod(s.path("v/roots"), 0o700),
			os.Chmod(s.path("v/mine"), 0o700)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for flag, want := range map[string][2]string{
			"--userns=host": {"0:0", "user's"}, "--uidmap=0:100:60000": {"65534:65534", "can't open '/v/mine/f'"},
		} {
			r := s.cooper(t, "build", "--progress=plain", "--no-cache", flag, "-v", s.path("v")+":/v", "ctx")
			if r.Code != 0 || strings.Contains(r.Stderr, "root's") || strings.Count(r.Stderr, "65534:65534") < 2 ||
				!strings.Contains(r.Stderr, want[0]) || !strings.Contains(r.Stderr, want[1]) {
				t.Errorf("%s: %d\n%s", flag, r.Code, r.Stderr)
			}
		}
	}
}

func TestShiftedCopiesAreKeptAndGoWithTheirLayers(t *testing.T) {
	t.Parallel()
	for _, m := range suite.modes {
		if m.root() {
			continue
		}
		s := newSite(t, m)
		s.busybox(t, "base")
		copies := func() []string {
			dirs, err := filepath.Glob(s.store() + "/cooper/shifted/*/*/bin")
			if err != nil {
				t.Fatal(err)
			}
			return dirs
		}
		s.write(t, "ctx/Containerfile", "FROM base\nRUN echo 1 >/x\n")
		s.build(t, "-q", "--uidmap=0:9:60000", "-t", "app", "ctx")
		before := copies()
		s.build(t, "-q", "--no-cache", "--uidmap=0:9:60000", "-t", "app", "ctx")
		if len(before) == 0 || len(copies()) != len(before) {
			t.Errorf("copies %q, then %q", before, copies())
		}
		s.run(t, "podman", "rmi", "-af")
		s.write(t, "scratch/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
		s.build(t, "-q", "scratch")
		if left := copies(); len(left) > 0 {
			t.Errorf("still there: %q", left)
		}
		s.checkNoLeftovers(t)
	}
}

func TestUserNamespacesThatCannotBe(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		first := 1 // an intermediate ID
		if m.root() {
			first = 100001
		}
		for _, d := range driversOf(t, m) {
			s := newDriverSite(t, m, d)
			s.busybox(t, "base")
			s.write(t, "owned/Containerfile", "FROM base\nRUN echo >/far && chown 2000:2000 /far\n")
			s.build(t, "-q", "-t", "owned", "owned")
			s.write(t, "ctx/Containerfile", "FROM owned\nRUN true\n")
			s.write(t, "from/Containerfile", "FROM base\nRUN --mount=from=owned,target=/from true\n")
			for _, context := range []string{"ctx", "from"} {
				s.cooper(t, "build", fmt.Sprintf("--uidmap=0:%d:1000", first), context).
					fails(t, 1, `"/far"`, "2000", "0 to 2000 are a range of length 2001", fmt.Sprintf("0 %d 1000", first))
			}
			s.checkNoLeftovers(t)
		}
	})
}

// With force_mask the owners on disk aren't those of the image.
func TestMaskedStoreHasNoSecondMap(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newDriverSite(t, m, driverCases(t)[2])
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN true\n")
		flag := "--userns=keep-id"
		if m.root() {
			flag = "--uidmap=0:500000:65536"
		}
		s.cooper(t, "build", "--storage-opt=overlay.mount_program=/usr/bin/fuse-overlayfs",
			"--storage-opt=overlay.force_mask=700", flag, "ctx").
			fails(t, 1, "force_mask", "leave --userns")
		s.checkNoLeftovers(t)
	})
}
