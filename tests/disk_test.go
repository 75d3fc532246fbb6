package tests_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// usage is what cooper df says of a store.
type usage struct {
	Types []struct {
		Type               string
		Count              int
		Bytes, Reclaimable int64
	}
	Items []struct {
		Type, ID, Name, About string
		Bytes                 int64
		InUse                 bool
	}
}

func (s *site) df(t *testing.T) usage {
	t.Helper()
	r := s.cooper(t, "df", "-v", "--format=json")
	if r.Code != 0 {
		t.Fatalf("cooper df: status %d\n%s", r.Code, tail(r.Stderr))
	}
	var u usage
	if err := json.Unmarshal([]byte(r.Stdout), &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// own is what cooper's own things take; kinds are those that count, none: all.
func (u usage) own(kinds ...string) (bytes int64) {
	for _, k := range u.Types {
		if k.Type != "images" && (len(kinds) == 0 || strings.Contains(strings.Join(kinds, " "), k.Type)) {
			bytes += k.Bytes
		}
	}
	return bytes
}

func (s *site) prune(t *testing.T, args ...string) string {
	t.Helper()
	r := s.cooper(t, append([]string{"prune", "--force"}, args...)...)
	if r.Code != 0 {
		t.Fatalf("cooper prune %s: status %d\n%s", strings.Join(args, " "), r.Code, tail(r.Stderr))
	}
	return r.Stdout
}

// du is what a directory of the site takes on disk.
func (s *site) du(t *testing.T, dir string) int64 {
	t.Helper()
	args := []string{"du", "-s", "--block-size=1", dir}
	if !s.mode.root() {
		args = append([]string{"podman", "unshare"}, args...)
	}
	text, _, _ := strings.Cut(s.run(t, args[0], args[1:]...), "\t")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestUsageIsWhatDiskUsageSays holds the sizes against du(1), which counts a file with several names once.
func TestUsageIsWhatDiskUsageSays(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSiteOnDisk(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/data", strings.Repeat("x", 3<<20))
		s.write(t, "ctx/Containerfile", `FROM base
ARG V
RUN dd if=/dev/urandom of=/big bs=1M count=4 2>/dev/null; ln /big /again; for i in $(seq 300); do echo $i >/f$i; done; echo $V >/v
COPY --link data /data
`)
		for v := range 3 { // the linked layer is put on three parents, and is there once
			s.build(t, "-q", "-t", "app", "--build-arg", fmt.Sprint("V=", v), "ctx")
		}
		noted := s.df(t)
		u := s.df(t)
		var all int64
		for _, k := range u.Types {
			all += k.Bytes
		}
		whole := s.du(t, s.store())
		if diff := whole - all; diff < 0 || diff > whole/20 {
			t.Errorf("df counts %d bytes, du %d", all, whole)
		}
		if noted.own() != u.own() {
			t.Errorf("two looks: %d and %d bytes", noted.own(), u.own())
		}
		var free int64
		for _, k := range u.Types {
			free += k.Reclaimable
		}
		s.prune(t, "--all")
		if freed := whole - s.du(t, s.store()); freed < free*19/20 || freed > free*21/20+1<<20 {
			t.Errorf("%d bytes were reclaimable, %d were given back", free, freed)
		}
		s.run(t, "skopeo", "--insecure-policy", "copy", "-q", "containers-storage:localhost/app:latest",
			"dir:"+s.path("copy"))
	})
}

// TestLimitHoldsAfterEachBuild builds more and more under a limit.
func TestLimitHoldsAfterEachBuild(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", `FROM base AS other
ARG V
RUN dd if=/dev/urandom of=/other bs=1M count=2 2>/dev/null; echo $V >/v
FROM base
ARG V
RUN --mount=type=cache,id=c,target=/c dd if=/dev/urandom of=/c/x bs=1M count=1 2>/dev/null; echo $V >/v
RUN dd if=/dev/urandom of=/big bs=1M count=3 2>/dev/null
COPY --from=other /other /other
`)
		const limit = 16_000_000
		for v := range 6 {
			r := s.cooper(t, "build", "-t", "app", "--max-used-space=16MB", "--build-arg", fmt.Sprint("V=", v), "ctx")
			if r.Code != 0 || strings.Contains(r.Stderr, "WARNING") {
				t.Fatalf("status %d\n%s", r.Code, tail(r.Stderr))
			}
			if u := s.df(t); u.own() > limit {
				t.Fatalf("after build %d cooper's own things take %d bytes: %+v", v, u.own(), u.Types)
			}
		}
		// What was used last is still there.
		s.build(t, "-q", "-t", "app", "--metadata-file=meta", "--build-arg=V=5", "--max-used-space=16MB", "ctx")
		if meta := s.run(t, "cat", s.path("meta")); !strings.Contains(meta, `"cooper.cached": 4`) {
			t.Errorf("the last build isn't cached: %s", meta)
		}
		// What the build uses stays, and is told.
		s.build(t, "-q", "-t", "app", "--build-arg=V=6", "ctx")
		r := s.cooper(t, "build", "-t", "app", "--max-used-space=1MB", "--build-arg=V=6", "ctx")
		if r.Code != 0 || strings.Count(r.Stderr, "WARNING") != 1 ||
			!strings.Contains(r.Stderr, "more than the 1MB of --max-used-space: running builds use it (layers 2.") {
			t.Errorf("status %d\n%s", r.Code, tail(r.Stderr))
		}
		if layers := s.df(t).own("layers"); layers > 3_000_000 {
			t.Errorf("layers of earlier builds are still there: %d bytes", layers)
		}
		cmd := s.command(suite.cooper, "build", "-q", "-t", "app", "--build-arg=V=6", "ctx")
		cmd.Env = append(cmd.Env, "COOPER_MAX_USED_SPACE=20MB")
		if r := runCommand(t, cmd); r.Code != 0 || r.Stderr != "" {
			t.Errorf("status %d\n%s", r.Code, tail(r.Stderr))
		}
		// A step that would write more ends, whatever it writes to, and nothing of it is left.
		for n, step := range []string{"", "--mount=type=cache,id=much,target=/m "} {
			s.write(t, "ctx/much", "FROM base\nRUN echo kept >/kept\nRUN "+step+
				"trap '' TERM; mkdir -p /m && dd if=/dev/zero of=/m/much bs=1M count=1500\n")
			r := s.cooper(t, "build", "-f", "ctx/much", "--max-used-space=40MB", "ctx")
			if r.Code != 1 || !strings.Contains(r.Stderr, "ctx/much:3: RUN ") ||
				!strings.Contains(r.Stderr, "\nended at the limit of disk space: running builds use and write ") ||
				!strings.Contains(r.Stderr, "more than the 40MB of --max-used-space (") {
				t.Errorf("%q: status %d\n%s", step, r.Code, tail(r.Stderr))
			}
			if u := s.df(t); u.own() > 40_000_000 {
				t.Errorf("%q: cooper's own things take %d bytes: %+v", step, u.own(), u.Types)
			}
			if n == 0 && !strings.Contains(s.cooper(t, "build", "--progress=plain", "-f", "ctx/much",
				"--max-used-space=40MB", "ctx").Stderr, "CACHED") {
				t.Error("the steps before it are not kept")
			}
		}
		s.checkNoLeftovers(t)
	})
}

// stressFile has layers that several builds have in common, a stage of their own, a cache mount and a linked layer.
const stressFile = `FROM base AS common
RUN for i in $(seq 100); do echo $i >/c$i; done
FROM base AS stage
ARG V
RUN echo stage $V >/stage; dd if=/dev/zero of=/zero bs=100k count=$V 2>/dev/null
FROM common
ARG V
RUN --mount=type=cache,id=stress,target=/m echo $V >>/m/log; echo $V >/v; chown 33 /v
COPY --link file /linked
COPY --from=stage /stage /stage
RUN cat /v /stage /linked >/all && test -e /c100
`

// TestPruneBesideBuilds has builds and prunes at the same time, of which some are killed. Every build ends well, with
// the right image, and the store stays whole.
func TestPruneBesideBuilds(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSiteOnDisk(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/file", "file\n")
		s.write(t, "ctx/Containerfile", stressFile)
		// Each build has two prunes beside it: prunes without an end would keep a processor from the builds.
		turns := make(chan struct{}, 2*stressBuilds)
		var pruners, builders sync.WaitGroup
		for n := range 2 {
			pruners.Go(func() { s.pruneAtRandom(t, turns, n == 1) })
		}
		for n := range 3 {
			builders.Go(func() {
				for round := range 4 {
					s.stressBuild(t, turns, n, round)
				}
			})
		}
		builders.Wait()
		close(turns)
		pruners.Wait()
		s.prune(t, "--all")
		s.checkNoLeftovers(t)
		for n := range 3 {
			s.checkStressed(t, n)
		}
		if own := s.df(t).own(); own > 100_000 {
			t.Errorf("%d bytes can't be given back:\n%s", own, s.cooper(t, "df", "-v").Stdout)
		}
		s.prune(t, "--all")
		s.build(t, "-q", "-t", "stress0", "--build-arg=V=1", "ctx")
		s.checkStore(t, "stress0")
		if out := s.run(t, "podman", "images", "-a", "--format", "{{.Repository}}"); strings.Count(out,
			"localhost/")-strings.Count(out, "localhost/cooper-cache") != 4 {
			t.Errorf("podman sees %q", out)
		}
	})
}

// TestKilledPruneLeavesTheStoreWhole ends prunes of many layers at different moments. What is left is found by the next
// one.
func TestKilledPruneLeavesTheStoreWhole(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSiteOnDisk(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nARG V\n"+
			strings.Repeat("RUN --mount=type=cache,target=/c exec 2>&1; echo $V >>/c/all; cat /c/all >/f\n", 6))
		rounds := 6
		if m.root() {
			rounds = 3
		}
		for round := range rounds {
			for v := range 3 {
				s.build(t, "-q", "-t", "app", "--build-arg", fmt.Sprint("V=", round, v), "ctx")
			}
			// no time at all, by which the command line is known
			known := fmt.Sprintf("--filter=until=0.000000000%ds", s.number)
			cmd := s.command(suite.cooper, "prune", "--force", "--all", known)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			killAtRandom(cmd, time.Duration(round)*50*time.Millisecond)
			_ = cmd.Wait() // it was killed, or done
			s.waitForEnd(t, known)
			if r := s.cooper(t, "df"); r.Code != 0 {
				t.Errorf("df after a killed prune: %s", tail(r.Stderr))
			}
		}
		s.build(t, "-q", "-t", "app", "--build-arg=V=52", "ctx")
		s.prune(t, "--all")
		if own := s.df(t).own(); own > 0 {
			t.Errorf("%d bytes can't be given back:\n%s", own, s.cooper(t, "df", "-v").Stdout)
		}
		s.checkNoLeftovers(t)
		s.checkStore(t, "app")
		s.checkStore(t, "base")
	})
}

// stressBuilds are all that three builders do in four rounds, each twice.
const stressBuilds = 3 * 4 * 2

// stressBuild makes one image, sometimes with another ID map, sometimes under a limit, and sometimes without a name.
// Each build gives the pruners turns.
func (s *site) stressBuild(t *testing.T, turns chan<- struct{}, n, round int) {
	args := []string{"build", "--progress=plain", "--build-arg", fmt.Sprintf("V=%d", 1+(n+round)%4)}
	switch round % 4 {
	case 1:
		args = append(args, "--uidmap=0:1:2000")
	case 2:
		args = append(args, "--max-used-space=20MB")
	case 3:
		args = append(args, "--no-cache")
	}
	for _, names := range [][]string{{"-t", fmt.Sprint("stress", n)}, nil} {
		turns <- struct{}{}
		turns <- struct{}{}
		if r := runCommand(t, s.command(suite.cooper, append(append(args, names...), "ctx")...)); r.Code != 0 {
			t.Errorf("build %d, round %d: %q: status %d\n%s", n, round, args, r.Code, tail(r.Stderr))
		}
	}
}

// pruneAtRandom prunes once a turn; kill ends prunes before they are done.
func (s *site) pruneAtRandom(t *testing.T, turns <-chan struct{}, kill bool) {
	n := 0
	for range turns {
		args := [][]string{{"--all"}, nil, {"--type=layers"}, {"--max-used-space=500kB", "--all"}, {"--type=shifted,mounts"},
			{"--type=records", "--all"}}[n%6]
		n++
		cmd := s.command(suite.cooper, append([]string{"prune", "--force"}, args...)...)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		killed := make(chan bool, 1)
		if kill {
			go func() {
				killAtRandom(cmd, 60*time.Millisecond)
				killed <- true
			}()
		} else {
			killed <- false
		}
		if err := cmd.Wait(); err != nil && !<-killed {
			t.Errorf("prune %q: %v\n%s", args, err, tail(out.String()))
		}
	}
}

// killAtRandom kills a prune some time up to most after its start, or the process in the namespace that does its work.
func killAtRandom(cmd *exec.Cmd, most time.Duration) {
	time.Sleep(time.Duration(rand.Int64N(int64(most) + 1)))
	victim := cmd.Process.Pid
	if child := childOf(victim); child != 0 && rand.IntN(2) == 0 {
		victim = child
	}
	_ = syscall.Kill(victim, syscall.SIGKILL) // it may have ended
}

// checkStressed reads every layer of an image, and one of its files.
func (s *site) checkStressed(t *testing.T, n int) {
	t.Helper()
	name := fmt.Sprint("stress", n)
	s.checkStore(t, name)
	s.write(t, "look/Containerfile",
		"FROM "+name+"\nRUN exec 2>&1; cat /all; grep -qx \"stage $(cat /v)\" /all && grep -qx file /all && test $(stat -c %u /v) = 33\n")
	s.build(t, "--no-cache", "-q", "look")
}
