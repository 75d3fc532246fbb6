package tests_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
)

// tarOf is a tar archive of files by name, and of one more whose content is cut off after the given number of bytes.
func tarOf(t *testing.T, cutAfter int64, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if cutAfter == 0 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if err := w.WriteHeader(&tar.Header{Name: "cut", Mode: 0o644, Size: 10 * cutAfter}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, bytes.NewReader(make([]byte, cutAfter)), cutAfter); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestStoppedWhileUnpacking ends builds that wait for the rest of their context.
func TestStoppedWhileUnpacking(t *testing.T) {
	part := tarOf(t, 1<<20, map[string]string{"Containerfile": "FROM scratch\nCOPY . /\n"})
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		for _, c := range []struct {
			signal syscall.Signal
			code   int
		}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGKILL, -1}} {
			t.Run(c.signal.String(), func(t *testing.T) {
				in, feed, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				cmd := s.command(suite.cooper, "build", "-")
				cmd.Stdin = in
				if err := errors.Join(cmd.Start(), in.Close()); err != nil {
					t.Fatal(err)
				}
				// A pipe holds far less: once all is written, most of it is being unpacked.
				if _, err := feed.Write(part); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // its status is looked at below
				if code := cmd.ProcessState.ExitCode(); code != c.code {
					t.Errorf("exit status %d, not %d", code, c.code)
				}
				if err := feed.Close(); err != nil {
					t.Error(err)
				}
				if c.signal == syscall.SIGKILL {
					s.write(t, "whole/Containerfile", "FROM scratch\n")
					s.build(t, "whole")
				}
				s.checkNoLeftovers(t)
			})
		}
	})
}

// TestHostileContexts builds from archives that try to reach the host's files.
func TestHostileContexts(t *testing.T) {
	link := func(name, target string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
	}
	hard := func(name, target string) tar.Header {
		return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
	}
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o4777} }
	cases := []struct {
		name string
		// members are files with "changed" in them, links and so on; HOST is a directory of the host with a file "secret".
		members []tar.Header
		args    []string
		// fails is a part of the error; empty if the archive is contained.
		fails string
	}{
		{name: "dots", members: []tar.Header{file("../host/secret")}, fails: "leads out"},
		{name: "an absolute name", members: []tar.Header{file("HOST/secret")}},
		{name: "a link up", members: []tar.Header{link("l", "../../../../../../../../../../../HOST"), file("l/secret")}},
		{name: "an absolute link", members: []tar.Header{link("l", "HOST"), file("l/secret")}},
		{name: "a hard link", members: []tar.Header{hard("l", "HOST/secret")}, fails: "isn't there"},
		{name: "a hard link through a link", members: []tar.Header{link("l", "HOST"), hard("h", "l/secret")},
			fails: "isn't there"},
		{name: "a Dockerfile through a link", members: []tar.Header{link("l", "HOST")}, args: []string{"-f", "l/secret"},
			fails: "has no l/secret"},
		{name: "a Dockerfile that is a link", members: []tar.Header{link("d", "HOST/secret")}, args: []string{"-f", "d"},
			fails: "has no d"},
		{name: "a Dockerfile above", args: []string{"-f", "../../../../../../../../../HOST/secret"}, fails: "has no"},
		{name: "a Dockerfile that is a fifo", members: []tar.Header{{Typeflag: tar.TypeFifo, Name: "d"}},
			args: []string{"-f", "d"}, fails: "not a regular file"},
		{name: "an ignore file that is a link", members: []tar.Header{link(".dockerignore", "HOST/secret")}},
		{name: "devices", members: []tar.Header{
			{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 254}, {Typeflag: tar.TypeChar, Name: "zero"},
			{Typeflag: tar.TypeChar, Name: "mem", Devmajor: 1, Devminor: 1},
		}},
		{name: "the store's own files", members: []tar.Header{file("../lock")}, fails: "leads out"},
		{name: "a name for a deletion", members: []tar.Header{file(".wh.passwd")}, fails: "reserved for deletions"},
	}
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				s.write(t, "host/secret", secretText)
				host := strings.NewReplacer("HOST", s.path("host"))
				var args []string
				for _, a := range c.args {
					args = append(args, host.Replace(a))
				}
				cmd := s.command(suite.cooper, append([]string{"build", "-o", "type=oci,dest=hostile.tar"},
					append(args, "-")...)...)
				cmd.Stdin = bytes.NewReader(hostileTar(t, c.members, host))
				r := runCommand(t, cmd)
				if (r.Code != 0) != (c.fails != "") || !strings.Contains(r.Stderr, c.fails) {
					t.Errorf("status %d, %s", r.Code, r.Stderr)
				}
				if strings.Contains(r.Stderr, "panic") || strings.Contains(r.Stderr, secretText) {
					t.Errorf("stderr: %s", r.Stderr)
				}
				if r.Code == 0 {
					checkNoSecret(t, s.path("hostile.tar"))
				}
				text, err := os.ReadFile(s.path("host/secret"))
				if err != nil || string(text) != secretText {
					t.Errorf("the host's file: %q, %v", text, err)
				}
				if entries, err := os.ReadDir(s.path("host")); err != nil || len(entries) != 1 {
					t.Errorf("the host's directory: %v, %v", entries, err)
				}
				s.checkNoLeftovers(t)
			})
		}
	})
}

func hostileTar(t *testing.T, members []tar.Header, host *strings.Replacer) []byte {
	t.Helper()
	b := bytes.NewBuffer(tarOf(t, 0, map[string]string{"Containerfile": "FROM scratch\nCOPY . /all\n"}))
	b.Truncate(b.Len() - 1024) // the end comes later
	w := tar.NewWriter(b)
	for _, h := range members {
		h.Name, h.Linkname = host.Replace(h.Name), host.Replace(h.Linkname)
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "changed"
		}
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkNoSecret reads every layer of an OCI archive.
func checkNoSecret(t *testing.T, archive string) {
	t.Helper()
	files := mustFiles(t, archive)
	if len(files) == 0 {
		t.Error("the image is empty")
	}
	for name, f := range files {
		if f.Content == digest.FromString(secretText) {
			t.Errorf("%s holds the secret", name)
		}
	}
}

// TestManyEntries builds from an archive of many files in many directories, entered in turns.
func TestManyEntries(t *testing.T) {
	t.Parallel()
	files := map[string]string{"Containerfile": "FROM scratch\nCOPY . /\n"}
	const count = 20_000
	for n := range count {
		files[filepath.Join(fmt.Sprint(n%97), fmt.Sprint(n%53), fmt.Sprint(n))] = ""
	}
	archive := tarOf(t, 0, files)
	s := newSite(t, ordinary(t))
	cmd := s.command(suite.cooper, "build", "-o", "type=oci,dest=many.tar", "-")
	cmd.Stdin = bytes.NewReader(archive)
	if r := runCommand(t, cmd); r.Code != 0 {
		t.Fatal(tail(r.Stderr))
	}
	regular := 0
	for _, f := range mustFiles(t, s.path("many.tar")) {
		if f.Header.Typeflag == tar.TypeReg {
			regular++
		}
	}
	if regular != count+1 {
		t.Errorf("%d files, not %d", regular, count+1)
	}
	s.checkNoLeftovers(t)
}
