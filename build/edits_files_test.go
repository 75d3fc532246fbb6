package build_test

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ofFile is a Dockerfile of which each step but the last sees the file f.
const ofFile = "COPY f /f\nRUN read x </f; echo $x >/r\nRUN echo >/last\n"

// fileRuns are the steps of ofFile that run when f has changed.
const fileRuns = "COPY f|RUN read|RUN echo"

// editsOfFiles change one file.
func editsOfFiles() []edit {
	files := map[string]string{"f": "one\n", "other": "two\n"}
	both := []edit{
		{name: "a byte", change: func(p *project) { p.write("f", "onE\n") }, runs: fileRuns},
		{name: "a byte with the time restored", change: func(p *project) {
			info, err := os.Stat(p.path("f"))
			p.must(err)
			p.write("f", "onF\n")
			p.must(os.Chtimes(p.path("f"), info.ModTime(), info.ModTime()))
		}, runs: fileRuns},
		{name: "a byte with the clock set back", change: func(p *project) {
			p.write("f", "onG\n")
			p.must(os.Chtimes(p.path("f"), time.Unix(0, 0), time.Unix(0, 0)))
		}, runs: fileRuns},
		{name: "a byte with a time to come", change: func(p *project) {
			p.write("f", "onH\n")
			later := time.Now().Add(time.Hour)
			p.must(os.Chtimes(p.path("f"), later, later))
		}, runs: fileRuns},
		{name: "emptied", change: func(p *project) { p.write("f", "") }, runs: fileRuns},
		{name: "a newline at the end", change: func(p *project) { p.write("f", "one\n\n") }, runs: fileRuns},
		{name: "replaced by another file of its size", change: func(p *project) {
			p.write("new", "six\n")
			p.must(os.Rename(p.path("new"), p.path("f")))
		}, runs: fileRuns},
		{name: "replaced by a copy", change: func(p *project) {
			p.write("new", "one\n")
			p.must(os.Rename(p.path("new"), p.path("f")))
		}},
		{name: "its time", change: func(p *project) { p.must(os.Chtimes(p.path("f"), time.Now(), time.Now())) }},
		{name: "its time to the future", change: func(p *project) {
			later := time.Now().Add(1000 * time.Hour)
			p.must(os.Chtimes(p.path("f"), later, later))
		}},
		{name: "written anew with the same text", change: func(p *project) { p.write("f", "one\n") }},
		{name: "changed and changed back", change: func(p *project) {
			p.write("f", "two\n")
			p.write("f", "one\n")
		}},
		{name: "its mode", change: func(p *project) { p.must(os.Chmod(p.path("f"), 0o600)) }, runs: fileRuns},
		{name: "executable", change: func(p *project) { p.must(os.Chmod(p.path("f"), 0o755)) }, runs: fileRuns},
		{name: "setuid", change: func(p *project) { p.must(os.Chmod(p.path("f"), 0o644|os.ModeSetuid)) }, runs: fileRuns},
		{name: "its mode and back", change: func(p *project) {
			p.must(os.Chmod(p.path("f"), 0o600))
			p.must(os.Chmod(p.path("f"), 0o644))
		}},
		{name: "its owner", change: func(p *project) { p.must(os.Lchown(p.path("f"), 1, 1)) }},
		{name: "an attribute of the user", change: func(p *project) { p.xattr("f", "user.note", "x") }, runs: fileRuns},
		{name: "the value of an attribute", begin: func(p *project) { p.xattr("f", "user.note", "x") },
			change: func(p *project) { p.xattr("f", "user.note", "y") }, runs: fileRuns},
		{name: "an attribute removed", begin: func(p *project) { p.xattr("f", "user.note", "x") },
			change: func(p *project) { p.must(unix.Removexattr(p.path("f"), "user.note")) }, runs: fileRuns},
		{name: "an attribute of overlay mounts", change: func(p *project) { p.xattr("f", "user.overlay.note", "x") }},
		{name: "a second name", change: func(p *project) { p.must(os.Link(p.path("f"), p.path("g"))) }},
		{name: "a second name of another file", change: func(p *project) {
			p.must(os.Remove(p.path("f")))
			p.write("g", "one\n")
			p.must(os.Link(p.path("g"), p.path("f")))
		}},
		{name: "a link to the same text", change: func(p *project) {
			p.must(os.Rename(p.path("f"), p.path("g")))
			p.must(os.Symlink("g", p.path("f")))
		}},
		{name: "a link to another text", change: func(p *project) {
			p.must(os.Remove(p.path("f")))
			p.must(os.Symlink("other", p.path("f")))
		}, runs: fileRuns},
		{name: "sparse with the same bytes", begin: func(p *project) { p.write("f", "one\n"+strings.Repeat("\x00", 1<<16)) },
			change: func(p *project) {
				p.must(os.Remove(p.path("f")))
				p.write("f", "one\n")
				p.must(os.Truncate(p.path("f"), 4+1<<16))
			}},
		{name: "another file", change: func(p *project) { p.write("other", "three\n") }},
		{name: "a new file that nothing copies", change: func(p *project) { p.write("new", "x") }},
		{name: "a new directory that nothing copies", change: func(p *project) { p.must(os.Mkdir(p.path("d"), 0o755)) }},
		{name: "the name of the context", change: func(p *project) {
			moved := p.dir + "-moved"
			p.must(os.Rename(p.dir, moved))
			p.dir, p.request.Context = moved, moved
		}},
		{name: "the mode of the context", change: func(p *project) { p.must(os.Chmod(p.dir, 0o700)) }},
	}
	for i := range both {
		both[i].dockerfile, both[i].files = ofFile, files
	}
	return both
}

// ofDirectory is a Dockerfile of which each step but the last sees the directory d.
const ofDirectory = "COPY d /d\nRUN for f in /d/*; do echo $f; done >/r\nCOPY other /other\n"

const directoryRuns = "COPY d|RUN for|COPY other"

// editsOfDirectories change what is in one.
func editsOfDirectories() []edit {
	files := map[string]string{"d/a": "1", "d/b": "2", "d/sub/c": "3", "other": "4"}
	all := []edit{
		{name: "d: a byte", change: func(p *project) { p.write("d/sub/c", "5") }, runs: directoryRuns},
		{name: "d: a new file", change: func(p *project) { p.write("d/new", "") }, runs: directoryRuns},
		{name: "d: a file less", change: func(p *project) { p.must(os.Remove(p.path("d/b"))) }, runs: directoryRuns},
		{name: "d: a file renamed", change: func(p *project) {
			p.must(os.Rename(p.path("d/b"), p.path("d/bb")))
		}, runs: directoryRuns},
		{name: "d: the case of a name", change: func(p *project) {
			p.must(os.Rename(p.path("d/b"), p.path("d/B")))
		}, runs: directoryRuns},
		{name: "d: two files exchanged", change: func(p *project) {
			p.write("d/a", "2")
			p.write("d/b", "1")
		}, runs: directoryRuns},
		{name: "d: a file moved down", change: func(p *project) {
			p.must(os.Rename(p.path("d/b"), p.path("d/sub/b")))
		}, runs: directoryRuns},
		{name: "d: an empty directory", change: func(p *project) {
			p.must(os.Mkdir(p.path("d/empty"), 0o755))
		}, runs: directoryRuns},
		{name: "d: an empty directory less", begin: func(p *project) { p.must(os.Mkdir(p.path("d/empty"), 0o755)) },
			change: func(p *project) { p.must(os.Remove(p.path("d/empty"))) }, runs: directoryRuns},
		{name: "d: the mode of a directory", change: func(p *project) {
			p.must(os.Chmod(p.path("d/sub"), 0o700))
		}, runs: directoryRuns},
		{name: "d: an attribute of a directory", change: func(p *project) {
			p.xattr("d/sub", "user.note", "x")
		}, runs: directoryRuns},
		{name: "d: the mode of the directory itself", change: func(p *project) { p.must(os.Chmod(p.path("d"), 0o700)) }},
		{name: "d: times of directories", change: func(p *project) {
			p.must(os.Chtimes(p.path("d/sub"), time.Now(), time.Now()))
			p.must(os.Chtimes(p.path("d"), time.Now(), time.Now()))
		}},
		{name: "d: the same files made in another order", change: func(p *project) {
			p.must(os.RemoveAll(p.path("d")))
			p.write("d/sub/c", "3")
			p.write("d/b", "2")
			p.write("d/a", "1")
		}},
		{name: "d: the target of a link", begin: func(p *project) { p.must(os.Symlink("a", p.path("d/l"))) },
			change: func(p *project) {
				p.must(os.Remove(p.path("d/l")))
				p.must(os.Symlink("b", p.path("d/l")))
			}, runs: directoryRuns},
		{name: "d: a link made anew", begin: func(p *project) { p.must(os.Symlink("a", p.path("d/l"))) },
			change: func(p *project) {
				p.must(os.Remove(p.path("d/l")))
				p.must(os.Symlink("a", p.path("d/l")))
			}},
		{name: "d: a link in place of its file", change: func(p *project) {
			p.must(os.Remove(p.path("d/b")))
			p.write("d/sub/b", "2")
			p.must(os.Remove(p.path("d/sub/b")))
			p.must(os.Symlink("a", p.path("d/b")))
		}, runs: directoryRuns},
		{name: "d: a link that leads nowhere", change: func(p *project) {
			p.must(os.Symlink("nowhere", p.path("d/l")))
		}, runs: directoryRuns},
		{name: "d: a pipe", change: func(p *project) { p.must(unix.Mkfifo(p.path("d/p"), 0o644)) }, runs: directoryRuns},
		{name: "d: a file becomes a directory", change: func(p *project) {
			p.must(os.Remove(p.path("d/b")))
			p.must(os.Mkdir(p.path("d/b"), 0o755))
		}, runs: directoryRuns},
		{name: "d: owners", change: func(p *project) {
			p.must(os.Lchown(p.path("d/sub"), 1, 1))
			p.must(os.Lchown(p.path("d/a"), 2, 2))
		}},
		// Two names of one file are two equal files to the cache, so that the earlier layer is kept.
		{name: "d: two files of one inode", impure: true, begin: func(p *project) { p.write("d/b", "1") },
			change: func(p *project) {
				p.must(os.Remove(p.path("d/b")))
				p.must(os.Link(p.path("d/a"), p.path("d/b")))
			}},
		{name: "d: the file after it", change: func(p *project) { p.write("other", "5") }, runs: "COPY other"},
	}
	for i := range all {
		all[i].dockerfile, all[i].files = ofDirectory, files
	}
	return append(all, editsOfIgnoreFiles(files)...)
}

// editsOfIgnoreFiles change what is left out.
func editsOfIgnoreFiles(files map[string]string) []edit {
	all := []edit{
		{name: "i: one that hides a file", change: func(p *project) { p.write(".dockerignore", "d/b\n") },
			runs: directoryRuns},
		{name: "i: one that hides what nothing copies", change: func(p *project) { p.write(".dockerignore", "*.log\n") }},
		{name: "i: a comment", begin: func(p *project) { p.write(".dockerignore", "d/b\n") },
			change: func(p *project) { p.write(".dockerignore", "# b isn't needed\nd/b\n") }},
		{name: "i: another way to say it", begin: func(p *project) { p.write(".dockerignore", "d/b\n") },
			change: func(p *project) { p.write(".dockerignore", "**/b\n") }},
		{name: "i: an exception", begin: func(p *project) { p.write(".dockerignore", "d/*\n!d/a\n") },
			change: func(p *project) { p.write(".dockerignore", "d/*\n!d/a\n!d/b\n") }, runs: directoryRuns},
		{name: "i: a hidden file", begin: func(p *project) { p.write(".dockerignore", "d/b\n") },
			change: func(p *project) { p.write("d/b", "9") }},
		{name: "i: one of the Dockerfile's own", begin: func(p *project) { p.write(".dockerignore", "d/a\n") },
			change: func(p *project) { p.write("Dockerfile.dockerignore", "d/b\n") }, runs: directoryRuns},
		{name: "i: removed", begin: func(p *project) { p.write(".dockerignore", "d/b\n") },
			change: func(p *project) { p.must(os.Remove(p.path(".dockerignore"))) }, runs: directoryRuns},
	}
	for i := range all {
		all[i].dockerfile, all[i].files = ofDirectory, files
	}
	return all
}
