package tests_test

import (
	"os"
	"strings"
	"testing"
)

// TestStoreOfOtherDriverIsTold builds for a user of whose storage driver nothing is configured. Debian's podman takes
// vfs then. The user is told once, and what is told makes one store of the two.
func TestStoreOfOtherDriverIsTold(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"podman first": true, "cooper first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, ordinary(t))
			if err := os.Remove(s.storageConf()); err != nil {
				t.Fatal(err)
			}
			if before {
				s.run(t, "podman", "images")
			}
			s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
			if r := s.cooper(t, "build", "-q", "-t", "app", "ctx"); r.Code != 0 || r.Stderr != "" {
				t.Errorf("status %d\n%s", r.Code, r.Stderr)
			}
			first := s.cooper(t, "build", "-t", "app", "ctx")
			_, told, _ := strings.Cut(first.Stderr, "WARNING: podman ")
			told, fix, _ := strings.Cut(told, "; for one store: ")
			if first.Code != 0 || !strings.Contains(told, "keeps images in "+s.store()+" with the driver vfs") {
				t.Errorf("status %d\n%s", first.Code, first.Stderr)
			}
			if again := s.cooper(t, "build", "-t", "app", "ctx"); strings.Contains(again.Stderr, "vfs") {
				t.Errorf("it is told twice:\n%s", again.Stderr)
			}
			found := s.cooper(t, "doctor").Stdout
			fix, _, _ = strings.Cut(fix, "\n")
			if _, line, _ := strings.Cut(found, "one-store"); !strings.Contains(line, "fix: "+fix+"\n") {
				t.Errorf("doctor doesn't say %q:\n%s", fix, found)
			}
			if out := s.run(t, "podman", "images"); strings.Contains(out, "app") {
				t.Errorf("podman sees the image already:\n%s", out)
			}
			s.checkFix(t, fix, before)
		})
	}
}

// checkFix types what cooper says.
func (s *site) checkFix(t *testing.T, fix string, podmanFirst bool) {
	t.Helper()
	const then = "; then, for podman goes by the driver in its data base: "
	write, forget, both := strings.Cut(fix, then)
	if both != podmanFirst {
		t.Errorf("podman was used before: %t, and told is %q", podmanFirst, fix)
	}
	s.run(t, "sh", "-ec", write)
	if found := s.cooper(t, "doctor").Stdout; !both { // meanwhile podman has been used
		_, line, _ := strings.Cut(found, "one-store")
		_, line, _ = strings.Cut(line, "fix: ")
		forget, _, _ = strings.Cut(line, "\n")
	}
	command, _, _ := strings.Cut(forget, " (")
	s.run(t, "sh", "-ec", command)
	for _, tool := range []string{"podman", "buildah"} {
		if out := s.run(t, tool, "images"); !strings.Contains(out, "localhost/app") {
			t.Errorf("%s doesn't see the image:\n%s", tool, out)
		}
	}
	if found := s.cooper(t, "doctor").Stdout; !strings.Contains(found, "ok    one-store") {
		t.Errorf("doctor still finds two:\n%s", found)
	}
}

// TestSetupSaysWhatItWrites sets up an account without a storage.conf, as that user, who isn't root.
func TestSetupSaysWhatItWrites(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	if err := os.Remove(s.storageConf()); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(readFile(t, "../contrib/setup.sh"), `home=$(getent passwd "$user" | cut -d: -f6)`,
		"home="+s.path("home"))
	s.write(t, "setup.sh", text)
	s.run(t, "podman", "images")
	if r := runCommand(t, s.command("sh", "setup.sh", "--check")); !strings.Contains(r.Stdout,
		s.storageConf()+" is missing") {
		t.Errorf("what is missing isn't said:\n%s", r.Stdout)
	}
	if _, err := os.Lstat(s.storageConf()); err == nil {
		t.Error("--check wrote a file")
	}
	r := runCommand(t, s.command("sh", "setup.sh"))
	for _, text := range []string{"wrote " + s.storageConf(), "rm -r " + s.store() + "/libpod"} {
		if !strings.Contains(r.Stdout, text) {
			t.Errorf("no %q in:\n%s", text, r.Stdout)
		}
	}
	if got := readFile(t, s.storageConf()); got != "[storage]\ndriver = \"overlay\"\n" {
		t.Errorf("written is %q", got)
	}
}
