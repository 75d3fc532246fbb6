package export

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sh fills a directory.
func sh(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// listing is what a directory holds: path, kind, permissions, link target or content.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		is, err := d.Info()
		if err != nil {
			return err
		}
		line := strings.TrimPrefix(path, dir+"/") + " " + is.Mode().String()
		if is.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + strings.TrimSpace(string(data))
		}
		if to, err := os.Readlink(path); err == nil {
			line += " " + to
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

const newFiles = "umask 022; mkdir a b; echo new >a/f; ln -s /outside a/link; echo x >b/x; chmod 700 b"

func TestWriteDirMergesWithoutFollowingLinks(t *testing.T) {
	outside := t.TempDir()
	for name, test := range map[string]struct{ before, want string }{
		"nothing there": {"", "a drwxr-xr-x\na/f -rw-r--r-- new\na/link Lrwxrwxrwx /outside\nb drwx------\nb/x -rw-r--r-- x"},
		"others stay": {"umask 022; mkdir -p a/sub b; echo old >a/f; echo keep >a/sub/k; echo keep >b/k",
			"a drwxr-xr-x\na/f -rw-r--r-- new\na/link Lrwxrwxrwx /outside\na/sub drwxr-xr-x\na/sub/k -rw-r--r-- keep\nb drwx------\nb/k -rw-r--r-- keep\nb/x -rw-r--r-- x"},
		"links and files in the way": {fmt.Sprintf("mkdir a; ln -s %s/f a/f; ln -s %s b; touch a/link", outside, outside),
			"a drwxr-xr-x\na/f -rw-r--r-- new\na/link Lrwxrwxrwx /outside\nb drwx------\nb/x -rw-r--r-- x"},
	} {
		t.Run(name, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "deep", "out")
			if test.before != "" {
				if err := os.MkdirAll(dest, 0o755); err != nil {
					t.Fatal(err)
				}
				sh(t, dest, test.before)
			}
			if err := WriteDir(dest, false, func(dir string) error { sh(t, dir, newFiles); return nil }); err != nil {
				t.Fatal(err)
			}
			if got := listing(t, dest); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if beside, err := os.ReadDir(filepath.Dir(dest)); err != nil || len(beside) != 1 {
				t.Errorf("beside it: %v %v", beside, err)
			}
		})
	}
	if got := listing(t, outside); got != "" {
		t.Errorf("written through a link:\n%s", got)
	}
}

func TestWriteDirRemovesWhatIsNotNewIfAsked(t *testing.T) {
	outside, dest := t.TempDir(), filepath.Join(t.TempDir(), "out")
	sh(t, outside, "echo x >kept")
	if err := os.Mkdir(dest, 0o755); err != nil {
		t.Fatal(err)
	}
	sh(t, dest, "umask 022; mkdir -p a/f/sub a/old gone/deep b; echo x >a/old/x; touch gone/deep/f top; ln -s "+outside+
		" a/away; ln -s "+outside+" gone/away")
	if err := WriteDir(dest, true, func(dir string) error { sh(t, dir, newFiles); return nil }); err != nil {
		t.Fatal(err)
	}
	const want = "a drwxr-xr-x\na/f -rw-r--r-- new\na/link Lrwxrwxrwx /outside\nb drwx------\nb/x -rw-r--r-- x"
	if got := listing(t, dest); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Errorf("removed through a link: %v", err)
	}
}

func TestWriteDirChangesNothingIfItFails(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		before, want string
		fill         error
	}{
		"while filling, new":   {"", "broken", broken},
		"while filling, there": {"mkdir d; echo x >d/x", "broken", broken},
		"a directory in the way": {"mkdir -p a/f/sub b; touch a/f/sub/precious",
			`"a/f" is a directory there, and a file in the image`, nil},
		"a directory where a link is": {"mkdir -p a/link", `"a/link" is a directory there`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dest := filepath.Join(parent, "out")
			if test.before != "" {
				if err := os.Mkdir(dest, 0o755); err != nil {
					t.Fatal(err)
				}
				sh(t, dest, test.before)
			}
			before := listing(t, parent)
			err := WriteDir(dest, false, func(dir string) error { sh(t, dir, newFiles); return test.fill })
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if after := listing(t, parent); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	sh(t, "/", "echo x >"+file)
	if err := WriteDir(file, false, func(string) error { return nil }); err == nil ||
		!strings.Contains(err.Error(), "there is a file") {
		t.Errorf("a file as destination: %v", err)
	}
}

func TestWriteTarAppearsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "files.tar")
	broken := errors.New("broken")
	err := WriteTar(t.Context(), path, nil, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) || names(t, filepath.Dir(path)) != "[]" {
		t.Errorf("%v, %s", err, names(t, filepath.Dir(path)))
	}
	var out strings.Builder
	for _, dest := range []string{path, Stdout} {
		if err := WriteTar(t.Context(), dest, &out,
			func(w io.Writer) error { _, err := io.WriteString(w, "whole"); return err }); err != nil {
			t.Error(err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "whole" || out.String() != "whole" {
		t.Errorf("%q %v, %q", data, err, out.String())
	}
}
