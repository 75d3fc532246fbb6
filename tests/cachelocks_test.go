package tests_test

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
)

// lockedHere is a build that hangs if a step waits for itself, or if two steps wait for each other.
const lockedHere = `FROM base AS same
RUN --mount=type=cache,id=a,target=/1 --mount=type=cache,id=a,sharing=locked,target=/2 echo x >/1/f && cmp /1/f /2/f
RUN --mount=type=cache,id=b,sharing=locked,target=/1 --mount=type=cache,id=b,sharing=locked,target=/2,ro echo x >/1/f && cmp /1/f /2/f
RUN --mount=type=cache,id=c,sharing=private,target=/1 --mount=type=cache,id=c,sharing=private,target=/2 echo x >/1/f && cmp /1/f /2/f
RUN --mount=type=cache,id=d,sharing=locked,target=/1 --mount=type=cache,id=d,uid=33,sharing=locked,target=/2 echo x >/1/f && test ! -e /2/f
FROM base AS one
RUN --mount=type=cache,id=a,sharing=locked,target=/1 --mount=type=cache,id=b,sharing=locked,target=/2 sleep 0.1; touch /one
FROM base AS other
RUN --mount=type=cache,id=b,sharing=locked,target=/2 --mount=type=cache,id=a,sharing=locked,target=/1 sleep 0.1; touch /other
FROM base AS third
RUN --mount=type=cache,id=a,target=/1 --mount=type=cache,id=b,sharing=locked,target=/2 sleep 0.1; touch /third
FROM base
COPY --from=same /bin/sh /0
COPY --from=one /one /1
COPY --from=other /other /2
COPY --from=third /third /3
`

func TestCacheMountsLockOnceAndInOneOrder(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", lockedHere)
		var builds [][]string
		for range 4 {
			builds = append(builds, []string{"--no-cache", "--jobs=4", "ctx"})
		}
		s.atOnce(t, builds)
		s.checkNoLeftovers(t)
	})
}

func TestWaitForACacheMountIsToldAndCanBeInterrupted(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		sleep := fmt.Sprintf("sleep 1000.%d", s.number)
		s.write(t, "holder/Containerfile", "FROM base\nRUN --mount=type=cache,id=it,sharing=locked,target=/c echo started; "+
			sleep+"\n")
		s.write(t, "waiter/Containerfile", "FROM base\nRUN --mount=type=cache,id=it,target=/c touch /c/x\n")
		start := func(dir, said string) *exec.Cmd {
			cmd := s.command(suite.cooper, "build", "--progress=plain", dir)
			begun := newWaitFor(said)
			cmd.Stderr = begun
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			begun.wait(t)
			return cmd
		}
		holder := start("holder", "started\n")
		waiter := start("waiter", "waits for the cache mount id=it, which another step or build is using\n")
		for _, cmd := range []*exec.Cmd{waiter, holder} { // the holder isn't asked before the waiter has ended
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // its status is looked at below
			if code := cmd.ProcessState.ExitCode(); code != 130 {
				t.Errorf("%v: exit status %d, not 130", cmd.Args, code)
			}
		}
		s.checkNoLeftovers(t, sleep)
	})
}
