package tests_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// indented are the lines of a page's blocks of code, without what they are indented by.
func indented(t *testing.T, page string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	block := ""
	for line := range strings.Lines(string(text) + "\n.\n") {
		code, is := strings.CutPrefix(line, "    ")
		switch {
		case is:
			block += code
		case strings.TrimSpace(line) == "" && block != "":
			block += line
		case block != "":
			blocks, block = append(blocks, block), ""
		}
	}
	return blocks
}

// TestTheScriptOfTheScriptsPageWorks runs the sequence of docs/scripts.md, as it is, twice and after a change.
func TestTheScriptOfTheScriptsPageWorks(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.build(t, "-q", "-t", "base", "busybox")
		script, promised := "", ""
		for _, block := range indented(t, "../docs/scripts.md") {
			if strings.HasPrefix(block, "#!/bin/sh") {
				script = block
			}
			if strings.HasPrefix(block, "cooper: ") {
				promised = strings.TrimSpace(block)
			}
		}
		s.write(t, "ctx/build.sh", script)
		s.write(t, "ctx/greeting", "hello\n")
		run := func() result {
			t.Helper()
			cmd := s.command(suite.cooper, "script", "-v", "build.sh")
			cmd.Dir = s.path("ctx")
			r := runCommand(t, cmd)
			if r.Code != 0 || !strings.Contains(r.Stdout, "This is a new container named") {
				t.Fatalf("status %d\n%s%s", r.Code, r.Stdout, tail(r.Stderr))
			}
			return r
		}
		run()
		ids := func() string {
			return s.run(t, suite.cooper, "images", "--no-trunc", "--quiet", "--filter", "reference=runecho*")
		}
		first := ids()
		if r := run(); promised == "" || !strings.Contains(r.Stderr, promised) {
			t.Errorf("the page promises %q, and it says\n%s", promised, tail(r.Stderr))
		}
		if again := ids(); first == "" || again != first {
			t.Errorf("the images are\n%swere\n%s", again, first)
		}
		s.write(t, "ctx/greeting", "changed\n")
		if r := run(); !regexp.MustCompile(`ran: "copy \./greeting .*\n(.*\n)*cooper: 6 steps, [1-4] from the cache`).MatchString(r.Stderr) {
			t.Errorf("after a change it says\n%s", tail(r.Stderr))
		}
		if r := s.run(t, suite.cooper, "run", "--rm", "runecho-small"); !strings.Contains(r, "This is a new container") {
			t.Errorf("the image says %s", r)
		}
	})
}

// TestTheCommandsOfTheContainersPageWork runs the lines of docs/containers.md, with another base and program.
func TestTheCommandsOfTheContainersPageWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.build(t, "-q", "-t", "base", "busybox")
		s.write(t, "ctx/app.conf", "x\n")
		n, script := 0, "set -e\n"
		for _, block := range indented(t, "../docs/containers.md") {
			for line := range strings.Lines(block) {
				code, is := strings.CutPrefix(line, "$ ")
				if !is || m.root() && strings.Contains(code, "unshare") {
					continue
				}
				n++
				code = strings.ReplaceAll(code, "cooper commit --rm", "cooper commit")
				code = strings.NewReplacer("debian:stable-slim", "base", "apt-get update && apt-get install -y curl", "mkdir /srv",
					"cooper ", suite.cooper+" ").Replace(code)
				script += code
			}
		}
		r := s.run(t, "sh", "-c", "cd ctx && "+script)
		if n < 5 {
			t.Errorf("there are %d commands", n)
		}
		if !m.root() && !strings.Contains(s.run(t, suite.cooper, "run", "base-working-container", "--", "cat", "/greeting",
			"/srv/app.conf"), "hello\nx\n") {
			t.Errorf("nothing was written to the mounts\n%s", r)
		}
	})
}
