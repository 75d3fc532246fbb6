//go:build soak

package tests_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// How many do what at once.
const (
	killBuilders = 20
	killPruners  = 2
	killRemovers = 2
	killVersions = 4
)

// killTime is how long each store is used, by the variable SOAK.
func killTime(t *testing.T) time.Duration {
	text := os.Getenv("SOAK")
	if text == "" {
		return 3 * time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	return d
}

// TestSoak has builds, prunes, removals of images and writers of a shared cache use one store at once, of which many
// are killed. Whatever isn't killed ends well, every image is that of an undisturbed build, and nothing is left behind.
func TestSoak(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSiteOnDisk(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/file", "file\n")
		s.write(t, "ctx/Containerfile", stressFile)
		w := killSoak{t: t, site: s}
		for v := range killVersions {
			w.want[v] = s.build(t, "-q", "--timestamp=1", "--build-arg", fmt.Sprint("V=", v+1), "ctx")
		}
		s.prune(t, "--all")
		over := make(chan struct{})
		var all sync.WaitGroup
		for n := range killBuilders {
			all.Go(func() { w.builds(over, n) })
		}
		for range killPruners {
			turns := make(chan struct{})
			all.Go(func() { s.pruneAtRandom(t, turns, true) })
			all.Go(func() { giveTurns(turns, over) })
		}
		for range killRemovers {
			all.Go(func() { w.removes(over) })
		}
		time.Sleep(killTime(t)) // that is what it is for
		close(over)
		all.Wait()
		t.Logf("%d builds ended well, %d were killed, %d images were removed", w.done.Load(), w.killed.Load(),
			w.removed.Load())
		w.check()
	})
}

// killSoak is what the test knows.
type killSoak struct {
	t    *testing.T
	site *site
	// want are the images of undisturbed builds, by version.
	want                  [killVersions]string
	done, killed, removed atomic.Int64
}

// builds builds again and again. Some builds write to a shared cache, or read from it.
func (w *killSoak) builds(over <-chan struct{}, n int) {
	for round := 0; !isOver(over); round++ {
		v := rand.IntN(killVersions)
		args := []string{"build", "-q", "--timestamp=1", "--build-arg", fmt.Sprint("V=", v+1)}
		if round%3 > 0 {
			args = append(args, "-t", fmt.Sprint("soak", n%7))
		}
		place := fmt.Sprint(w.site.path("cache"), n%2)
		switch (n + round) % 6 {
		case 1:
			args = append(args, "--uidmap=0:1:2000")
		case 2:
			args = append(args, "--max-used-space=20MB")
		case 3:
			args = append(args, "--no-cache")
		case 4:
			args = append(args, "--cache-to=type=local,mode=max,mounts=all,dest="+place)
		case 5:
			args = append(args, "--cache-from=type=local,src="+place)
		}
		w.one(append(args, "ctx"), v, rand.IntN(3) == 0)
	}
}

// one builds once, and kills the build at some moment if it is told to.
func (w *killSoak) one(args []string, v int, kill bool) {
	cmd := w.site.command(suite.cooper, args...)
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		w.t.Error(err)
		return
	}
	killed := make(chan struct{})
	if kill {
		go func() {
			killAtRandom(cmd, 2*time.Second)
			close(killed)
		}()
	}
	err := cmd.Wait()
	if kill {
		if <-killed; err != nil && wasKilled(cmd) || strings.Contains(said.String(), "killed") {
			w.killed.Add(1)
			return
		}
	}
	switch {
	case err == nil && strings.TrimSpace(out.String()) == w.want[v]:
		w.done.Add(1)
	case err == nil:
		w.t.Errorf("%q gives %s and not %s", args, out.String(), w.want[v])
	case strings.Contains(said.String(), "ended at the limit of disk space"):
	case kill: // the process in the namespace was killed, which the other one says
		w.killed.Add(1)
		if strings.Contains(said.String(), "panic") {
			w.t.Errorf("%q: %v\n%s", args, err, tail(said.String()))
		}
	default:
		w.t.Errorf("%q: %v\n%s", args, err, tail(said.String()))
	}
}

// giveTurns gives turns until it is over.
func giveTurns(turns chan<- struct{}, over <-chan struct{}) {
	defer close(turns)
	for {
		select {
		case turns <- struct{}{}:
		case <-over:
			return
		}
	}
}

func isOver(over <-chan struct{}) bool {
	select {
	case <-over:
		return true
	default:
		return false
	}
}

// wasKilled tells whether a process ended by a signal, or because the one that did its work did.
func wasKilled(cmd *exec.Cmd) bool {
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() || status.ExitStatus() == 128+int(syscall.SIGKILL))
}

// removes removes images that may be there, some of them as podman does.
func (w *killSoak) removes(over <-chan struct{}) {
	for n := 0; !isOver(over); n++ {
		name := fmt.Sprint("localhost/soak", rand.IntN(7))
		program := suite.cooper
		if n%4 == 3 {
			program = "podman"
		}
		r := runCommand(w.t, w.site.command(program, "rmi", "--force", name))
		switch {
		case r.Code == 0:
			w.removed.Add(1)
		case program == suite.cooper && !strings.Contains(r.Stderr, " stays: ") && !strings.Contains(r.Stderr, "no image") &&
			!strings.Contains(r.Stderr, "no such"):
			w.t.Errorf("rmi %s: status %d\n%s", name, r.Code, tail(r.Stderr))
		}
	}
}

// check looks at what is left.
func (w *killSoak) check() {
	t, s := w.t, w.site
	for v, want := range w.want {
		name := fmt.Sprint("last", v)
		if got := s.build(t, "-q", "--timestamp=1", "-t", name, "--build-arg", fmt.Sprint("V=", v+1), "ctx"); got != want {
			t.Errorf("at the end version %d is %s and not %s", v, got, want)
		}
		s.checkStore(t, name)
		place := fmt.Sprint(s.path("cache"), v%2)
		if got := s.build(t, "-q", "--timestamp=1", "--build-arg", fmt.Sprint("V=", v+1), "--cache-from=type=local,src="+
			place,
			"ctx"); got != want {
			t.Errorf("from the cache version %d is %s and not %s", v, got, want)
		}
	}
	for n := range 7 {
		_ = runCommand(t, s.command(suite.cooper, "rmi", "--force", fmt.Sprint("localhost/soak", n))) // it may be gone
	}
	s.checkNoLeftovers(t)
	s.prune(t, "--all")
	if own := s.df(t).own(); own > 200_000 {
		t.Errorf("%d bytes can't be given back:\n%s", own, s.cooper(t, "df", "-v").Stdout)
	}
	for v := range w.want {
		s.checkStore(t, fmt.Sprint("last", v))
	}
}
