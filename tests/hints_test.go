package tests_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wantHint checks what a command that fails says.
func wantHint(t *testing.T, r result, code int, want ...string) {
	t.Helper()
	if r.Code != code {
		t.Errorf("status %d, not %d", r.Code, code)
	}
	for _, w := range want {
		if !strings.Contains(r.Stdout+r.Stderr, w) {
			t.Errorf("%q is missing in:\n%s%s", w, r.Stdout, r.Stderr)
		}
	}
}

// without are the variables of the site but for one.
func (s *site) without(name string) []string {
	return slices.DeleteFunc(slices.Clone(s.env), func(e string) bool { return strings.HasPrefix(e, name+"=") })
}

// TestAsRootHintsAboutFilesOfTheContext has files in the context that are root's: what is the user's own can always be
// read.
func TestAsRootHintsAboutFilesOfTheContext(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.busybox(t, "base")
	s.mkdir(t, "ctx")
	if err := os.WriteFile(s.path("ctx/secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const may = "secret: permission denied\nhint: the file is in the build context, and you may not read it: change its mode, or leave it out with a line in "
	for text, want := range map[string]string{
		"FROM scratch\nCOPY . /\n":            "copy .: copy secret to /",
		"FROM base\nCOPY . /\n":               "copy .: copy secret to /",
		"FROM base\nCOPY --link secret /x/\n": "copy secret to /x/",
	} {
		s.write(t, "ctx/Containerfile", text)
		wantHint(t, s.cooper(t, "build", "ctx"), 1, want+may+"a .dockerignore at the top of the context\n")
	}
	s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY . /\n")
	s.write(t, "ctx/.containerignore", "nothing\n")
	wantHint(t, s.cooper(t, "build", "ctx"), 1, may+".containerignore\n")
	s.write(t, "ctx/.containerignore", "secret\n")
	s.build(t, "ctx")
}

func TestHintsStandOnALineOfTheirOwn(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN --mount=type=secret,id=x,required true\n")
		for _, view := range []string{"--progress=plain", "--quiet"} {
			r := s.cooper(t, "build", view, "ctx")
			wantHint(t, r, 1, "the build has none of that ID\n",
				"\nhint: give --secret id=x,src=FILE or --secret id=x,env=VARIABLE\n")
			if n := strings.Count(r.Stderr, "hint: "); n != 1 {
				t.Errorf("%d hints:\n%s", n, r.Stderr)
			}
		}
	})
}

func TestHintsAboutWhereCooperIsStarted(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM scratch\n")
		const nobody = "this is a user namespace that has no place for your user ID in its map"
		for _, args := range [][]string{{"build", "ctx"}, {"df"}, {"unshare", "true"}, {"doctor"}} {
			r := runCommand(t, s.command("unshare", append([]string{"--user", suite.cooper}, args...)...))
			wantHint(t, r, 125, nobody, "start cooper outside of it")
			if strings.Contains(r.Stdout+r.Stderr, "usermod") {
				t.Errorf("cooper %s proposes usermod:\n%s%s", args[0], r.Stdout, r.Stderr)
			}
		}
		if m.root() {
			return
		}
		cmd := s.command(suite.cooper, "build", "ctx")
		cmd.Env = append(s.without("XDG_RUNTIME_DIR"), "TMPDIR=/proc/none")
		wantHint(t, runCommand(t, cmd), 125,
			"/proc/none, which is no directory that you may write to\nhint: set TMPDIR to a directory, or unset it")

		// An ordinary user without ranges, in a container with 65537 IDs.
		r := runCommand(t, s.command("buildah", "unshare", "env", "-u", "_CONTAINERS_ROOTLESS_UID", "-u", "USER", "setpriv",
			"--reuid=54321", "--regid=54321", "--clear-groups", suite.cooper, "doctor"))
		text := r.Stdout + r.Stderr
		if !strings.Contains(text, "echo 54321:1000:53321 >> /etc/subuid") {
			t.Errorf("doctor proposes something else:\n%s", text)
		}
	})
}

// TestAsRootHintsWhereOverlayHasNoPlace puts stores where a container's own files are, without fuse-overlayfs.
func TestAsRootHintsWhereOverlayHasNoPlace(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM scratch\n")
		for _, dir := range []string{"lower", "upper", "work", "merged"} {
			s.mkdir(t, dir)
		}
		program, err := exec.LookPath("fuse-overlayfs")
		if err != nil {
			t.Fatal(err)
		}
		script := "mount -t overlay overlay -o lowerdir=" + s.path("lower") + ",upperdir=" + s.path("upper") + ",workdir=" +
			s.path("work") + " " +
			s.path("merged") + "\nmount --bind /dev/null " + program + "\n"
		root := []string{"--root", s.path("merged/s"), "--runroot", s.path("run/other")}
		r := s.inOtherMachine(t, script, append([]string{"build"}, append(root, "ctx")...)...)
		wantHint(t, r, 125, "overlay can't have its layers on the file system there",
			"\nhint: install fuse-overlayfs; or put the store on another file system")
		r = s.inOtherMachine(t, script, append([]string{"build", "--storage-driver=vfs"}, append(root, "ctx")...)...)
		wantHint(t, r, 0)
	})
}

// TestTheInstallLineWorksOnANewAccount runs the line of docs/install.md.
func TestTheInstallLineWorksOnANewAccount(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ +(install .* ~/.*)$`).FindStringSubmatch(string(page))
	if line == nil {
		t.Fatal("docs/install.md has no line that installs the program")
	}
	dir, home := t.TempDir(), t.TempDir()
	program, err := os.ReadFile(suite.cooper)
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o755),
			os.WriteFile(filepath.Join(dir, "bin/cooper"), program, 0o644),
			os.WriteFile(filepath.Join(dir, "bin/cooper-bake"), program, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", line[1])
	cmd.Dir, cmd.Env = dir, []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(filepath.Join(home, ".local/bin/cooper")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program is not there: %v, %v", info, err)
	}
}
