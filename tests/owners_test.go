package tests_test

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
)

// farOwner is an ID beyond the ranges that users usually have.
const farOwner = "1500000"

// farTar is an archive with a file /far of farOwner.
func farTar(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "far", Mode: 0o644, Uid: 1500000, Gid: 1500000}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// farFiles are ways to get a file of farOwner below a RUN step, and the file.
func farFiles() map[string]string {
	return map[string]string{
		"FROM owned\nRUN true\n":                                             "/far",
		"FROM owned\nCOPY a.tar /\nRUN true\n":                               "/far",
		"FROM base\nCOPY --chown=" + farOwner + " a.tar /c\nRUN true\n":      "/c",
		"FROM base\nCOPY --link --chown=" + farOwner + " a.tar /c\nRUN true": "/c",
		"FROM base\nCOPY --from=owned /far /d/f\nRUN true\n":                 "/d/f",
		"FROM owned AS s\nFROM base\nCOPY --from=s /far /f\nRUN true\n":      "/f",
		"FROM base\nADD a.tar /t/\nRUN true\n":                               "/t/far",
		"FROM base\nUSER " + farOwner + "\nWORKDIR /w\nUSER 0\nRUN true\n":   "/w",
		"FROM base\nRUN --mount=from=owned,target=/m true\n":                 "/far",
	}
}

// TestRootsStepsHaveAllOwners builds on what root's own ranges have no place for, without a word about namespaces.
func TestRootsStepsHaveAllOwners(t *testing.T) {
	t.Parallel()
	for _, m := range suite.modes {
		if !m.root() {
			continue
		}
		s := newSite(t, m)
		for _, flags := range [][]string{nil, {"--storage-driver=vfs", "--root", s.path("vfs")}} {
			build := func(args ...string) []string { return append(append([]string{"build", "-q"}, flags...), args...) }
			if err := s.makeBusybox(); err != nil {
				t.Fatal(err)
			}
			s.cooper(t, build("-t", "base", s.path("busybox"))...).succeeds(t)
			s.write(t, "owned/Containerfile", "FROM base\nRUN echo >/far && chown "+farOwner+":"+farOwner+" /far\n")
			s.cooper(t, build("--userns=host", "-t", "owned", "owned")...).succeeds(t)
			s.write(t, "ctx/a.tar", farTar(t))
			for file, path := range farFiles() {
				s.write(t, "ctx/Containerfile", file)
				for range 2 { // the second time what is below comes from the cache
					s.cooper(t, build("ctx")...).fails(t, 125, `the owner of "`+path+`"`, farOwner, "usermod --add-subuids ",
						"--userns=host")
				}
				s.cooper(t, build("--userns=host", "ctx")...).succeeds(t)
			}
			s.write(t, "ctx/Containerfile", "FROM owned\nCOPY a.tar /a.tar\n")
			s.cooper(t, build("ctx")...).succeeds(t) // there is no step
			s.write(t, "ctx/Containerfile",
				"FROM base\nCOPY --chown=7 a.tar /c\nRUN [ $(stat -c %u /c) = 7 ]\nCOPY --chown=8 a.tar /c\nRUN [ $(stat -c %u /c) = 8 ]\n")
			s.cooper(t, build("ctx")...).succeeds(t)
		}
		s.write(t, "ctx/Containerfile", "FROM base\nRUN --mount=type=cache,target=/m,uid="+farOwner+" true\n")
		s.cooper(t, "build", "ctx").fails(t, 125, "mount /m", farOwner+" has no host ID", "usermod --add-subuids ")
		s.checkNoLeftovers(t)
	}
}

// TestAutoKnowsOwnersThatWereJustCopied chooses ranges by files whose layers may still be on their way into the store.
func TestAutoKnowsOwnersThatWereJustCopied(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/f", "x")
		s.write(t, "ctx/Containerfile",
			"FROM base\nRUN true\nCOPY --chown=3000:4000 f /f\nRUN [ $(stat -c %u:%g /f) = 3000:4000 ] && chown 4001 /bin/busybox 2>&1 | grep -q nvalid\n")
		s.build(t, "--no-cache", "--userns=auto", "ctx")
		s.cooper(t, "build", "--no-cache", "--userns=auto:size=4000", "ctx").fails(t, 1, `"/f"`, "4000", "size=4001")
		s.write(t, "mount/Containerfile",
			"FROM base AS s\nRUN echo >/f && chown 77 /f\nCOPY --chown=2000:3000 Containerfile /c\nFROM base\nRUN --mount=from=s,target=/m [ $(stat -c %u:%g /m/c) = 2000:3000 ]\n")
		s.build(t, "--no-cache", "--userns=auto", "mount")
		s.cooper(t, "build", "--no-cache", "--userns=auto:size=1500", "mount").fails(t, 1, `"/c"`, "2000", "3000",
			"size=3001")
	})
}

// TestAsRootTheRemedyForOwnersOfStepsWorks does what the message says, where the range is nobody's, which usermod can't
// change.
func TestAsRootTheRemedyForOwnersOfStepsWorks(t *testing.T) {
	t.Parallel()
	for _, m := range suite.modes {
		if !m.root() {
			continue
		}
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/f", "x")
		s.write(t, "ctx/Containerfile", "FROM base\nCOPY --chown="+farOwner+" f /f\nRUN [ $(stat -c %u:%g /f) = "+farOwner+
			":"+farOwner+" ]\n")
		for _, name := range []string{"subuid", "subgid"} {
			s.write(t, name, "containers:100000:65536\nsomebody:165536:65536\n")
		}
		const mounts = "mount --bind subuid /etc/subuid; mount --bind subgid /etc/subgid; "
		r := s.inOtherMachine(t, mounts, "build", "ctx")
		_, remedy, _ := strings.Cut(r.Stderr[strings.LastIndex(r.Stderr, "\ncooper: ")+1:], "run as root: ")
		remedy, _, _ = strings.Cut(remedy, "\n")
		r.fails(t, 125, "containers:100000:65536", "echo containers:231072:")
		if r := s.inOtherMachine(t, mounts+remedy, "build", "ctx"); r.Code != 0 {
			t.Errorf("after %s: status %d\n%s", remedy, r.Code, tail(r.Stderr))
		}
	}
}
