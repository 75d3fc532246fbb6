package tests_test

import (
	"os"
	"testing"
)

// oddName has what parts and quotes words in lists of mount options, configuration files and shells, and what is no
// text at all.
const oddName = "a:b,c\\d e\n\xff\"'=%s$HOME"

// TestPathsMayHaveAnyCharacters has the store, its run-time state, the context, temporary files and the home of the
// user in directories with such a name, for every way to keep layers and run steps; real root has those of overlay.
func TestPathsMayHaveAnyCharacters(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		for _, d := range driversOf(t, m) {
			s := newSite(t, m)
			s.env = append(s.env, "TMPDIR="+s.path(oddName+"/tmp"))
			if !m.root() {
				s.env = append(s.env, "HOME="+s.path(oddName+"/home"))
			}
			if err := s.makeBusybox(); err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{"tmp", "home", "out"} {
				s.mkdir(t, oddName+"/"+dir)
			}
			if err := os.Rename(s.path("busybox"), s.path(oddName+"/ctx")); err != nil {
				t.Fatal(err)
			}
			s.write(t, oddName+"/ctx/.dockerignore", "*ignored\n")
			s.write(t, oddName+"/ctx/More",
				busyboxfile+"RUN --mount=target=/m test -e /m/More && test ! -e /m/.ignored && echo x >/x\n"+
					"RUN --mount=type=cache,target=/c --mount=target=/m,rw touch /c/x /m/x\nFROM 0\nCOPY --from=0 /x /y\nRUN test -e /y && rm /x\n")
			s.write(t, oddName+"/ctx/.ignored", "")
			args := append([]string{"--root", s.path(oddName + "/root"), "--runroot", s.path(oddName + "/run"), "-f",
				s.path(oddName + "/ctx/More")}, d.args...)
			s.build(t, append(args, "-t", "app", "--iidfile", s.path(oddName+"/out/id"), "-o", "files",
				s.path(oddName+"/ctx"))...)
			s.build(t, append(args, "--no-cache", "--runtime=runc", s.path(oddName+"/ctx"))...)
			if d.program == "" && d.name != "vfs" {
				second := "--userns=auto"
				if !m.root() {
					second = "--userns=keep-id"
				}
				s.build(t, append(args, "--no-cache", second, s.path(oddName+"/ctx"))...)
			}
			if _, err := os.Stat(s.path("files/y")); err != nil {
				t.Error(err)
			}
			s.checkNoLeftovers(t)
		}
	})
}
