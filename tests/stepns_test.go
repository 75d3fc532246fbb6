package tests_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ownersFile makes a tree with owners at the edges of the map, and changes it in another step.
const ownersFile = `FROM base
RUN mkdir /d && cd /d && for i in 0 1 33 1000 65533 65534 65535; do echo $i >f$i && chown $i:$i f$i || exit 1; done; chmod 4755 f33 && ln f33 hard && \
  ln -s f1 sym && chown -h 1000:1000 sym && mkdir sub && chown 33:1 sub && chmod 2775 sub
RUN [ "$(stat -c %u:%g:%a /d/f33 /d/f65535 /d/sub /bin/busybox | tr '\n' ' ')" = "33:33:4755 65535:65535:644 33:1:2775 0:0:755 " ] && rm /d/f1 && chown 1:2 /d/f0
USER 1000:1000
WORKDIR /d/made
RUN id -u && cat /d/f65534 && ! echo >/d/f33
COPY --from=base --chown=65535:1 /etc /copied
`

// namespaceFlags are the flags of all the ways to run steps that m's user has, and how the map in the step then begins.
func namespaceFlags(m mode) map[string]string {
	if m.root() {
		return map[string]string{"--userns=host": "0 0 4294967295", "--userns=private": "0 ", "--uidmap=0:500000:65536": "0 500000 65536", "--userns=auto:size=65536": "0 "}
	}
	return map[string]string{
		"--userns=host": fmt.Sprintf("0 %d 1", m.UID), "--userns=keep-id": fmt.Sprintf("0 1 %d", m.UID), "--userns=nomap": "0 1 65536",
		"--userns=keep-id:uid=33,gid=1": "0 1 33", "--uidmap=0:1:65536": "0 1 65536", "--uidmap=0:0:65536": "0 0 1",
		"--userns=auto:size=65536": "0 1 65536",
	}
}

func TestImageIsTheSameInEveryUserNamespace(t *testing.T) {
	ids := map[string]string{}
	for _, m := range suite.modes {
		s := newSite(t, m)
		s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", ownersFile)
		s.write(t, "map/Containerfile", "FROM base\nRUN cat /proc/self/uid_map >&2\n")
		for flag, wantMap := range namespaceFlags(m) {
			ids[m.Name+" "+flag] = s.build(t, "-q", "--no-cache", flag, "ctx")
			ids[m.Name+" crun "+flag] = s.build(t, "-q", "--no-cache", "--isolation=oci", "--runtime=crun", flag, "ctx")
			again := s.cooper(t, "build", flag, "ctx")
			if got := strings.TrimSpace(again.Stdout); got != ids[m.Name+" "+flag] || strings.Contains(again.Stderr, "DONE") && !strings.Contains(again.Stderr, "CACHED") {
				t.Errorf("%s %s: a second build gave %s\n%s", m.Name, flag, got, again.Stderr)
			}
			shown := s.cooper(t, "build", "--progress=plain", "--no-cache", flag, "map")
			if !strings.Contains(strings.Join(strings.Fields(shown.Stderr), " "), " "+wantMap) {
				t.Errorf("%s %s: the map isn't %s in\n%s", m.Name, flag, wantMap, shown.Stderr)
			}
		}
		s.build(t, "--storage-driver=vfs", "--root", s.path("vfs"), "-q", "-t", "base", s.path("busybox"))
		ids[m.Name+" vfs"] = s.build(t, "--storage-driver=vfs", "--root", s.path("vfs"), "-q", "--uidmap=0:1:65536", "ctx")
		s.checkNoLeftovers(t)
	}
	first := ""
	for how, id := range ids {
		if first == "" {
			first = id
		}
		if id != first {
			t.Errorf("%s gives %s, another way %s", how, id, first)
		}
	}
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
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", mountsFile)
		s.write(t, "key", "k")
		for flag := range namespaceFlags(s.mode) {
			for range 2 { // the cache is there the second time
				s.build(t, "-q", "--no-cache", "--secret=id=k,src="+s.path("key"), flag, "ctx")
			}
		}
	})
}

// A step's root has all rights over the files of those whom its map has, and none over those of others.
func TestAsRootFilesOfOthersStayClosedInSteps(t *testing.T) {
	for _, m := range suite.modes {
		if m.root() { // it takes root to make root's files, and another user to be kept out
			continue
		}
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN for f in /v/secret /v/mine/f /v/roots/f; do cat $f 2>&1; done >&2; stat -c %u:%g /v/secret /v/mine /v/roots >&2\n")
		s.write(t, "v/mine/f", "user's\n")
		for name, text := range map[string]string{"v/secret": "root's secret\n", "v/roots/f": "root's\n"} {
			s.write(t, name, text)
			for _, err := range []error{os.Chown(s.path(name), 0, 0), os.Chmod(s.path(name), 0o600)} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, err := range []error{os.Chown(s.path("v/roots"), 0, 0), os.Chmod(s.path("v/roots"), 0o700), os.Chmod(s.path("v/mine"), 0o700)} {
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
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "owned/Containerfile", "FROM base\nRUN echo >/far && chown 2000:2000 /far\n")
		s.build(t, "-q", "-t", "owned", "owned")
		s.write(t, "ctx/Containerfile", "FROM owned\nRUN true\n")
		first := 1 // an intermediate ID
		if s.mode.root() {
			first = 100001
		}
		s.cooper(t, "build", fmt.Sprintf("--uidmap=0:%d:1000", first), "ctx").fails(t, 1, `"/far"`, "2000", "0 to 2000 are a range of length 2001", fmt.Sprintf("0 %d 1000", first))
		fuse := []string{"--storage-driver=overlay", "--storage-opt=overlay.mount_program=/usr/bin/fuse-overlayfs", "--root", s.path("fuse")}
		s.cooper(t, append(append([]string{"build", "--uidmap=0:1:60000"}, fuse...), "busybox")...).fails(t, 1, "fuse-overlayfs", "--storage-driver")
	})
}
