package fileop

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCopyWithParents(t *testing.T) {
	parents := func(o *CopyOptions) { o.Parents = true }
	tree := files{"a": "dir@0750:1:2", "a/b": "dir@0711:3:4", "a/b/f": "file F@0600:5:6", "a/g": "file G", "a/e": "dir"}
	runCopyCases(t, []copyCase{
		{
			name: "directories come with their modes", context: tree, sources: []string{"a/b/f"}, dest: "/x/", options: parents,
			want: files{"x": "dir @0755", "x/a": "dir @0750", "x/a/b": "dir @0711", "x/a/b/f": "file F @0600"},
		},
		{
			name: "of a stage with their owners", context: tree, sources: []string{"a/b/f"}, dest: "/",
			options: func(o *CopyOptions) { o.Parents, o.KeepOwner = true, true },
			want:    files{"a": "dir @0750:1:2", "a/b": "dir @0711:3:4", "a/b/f": "file F @0600:5:6"},
		},
		{
			name: "those that exist take the mode alone", context: tree, view: files{"a": "dir@0700:9:9", "a/b/k": "file K"},
			sources: []string{"a/b/f"}, dest: "/", options: func(o *CopyOptions) { o.Parents, o.Chown = true, &Owner{7, 8} },
			want: files{"a": "dir @0750:9:9", "a/b": "dir @0711", "a/b/f": "file F @0600:7:8"},
		},
		{
			name: "a directory that is asked for takes all", context: tree,
			view:    files{"a": "dir@0700:9:9", "a/b": "dir@0700:9:9"},
			sources: []string{"a/b"}, dest: "/", options: func(o *CopyOptions) { o.Parents, o.Chown = true, &Owner{7, 8} },
			want: files{"a": "dir @0750:9:9", "a/b": "dir @0711:7:8", "a/b/f": "file F @0600:7:8"},
		},
		{
			name: "chmod holds for them", context: tree, sources: []string{"a/b/f", "a/g"}, dest: "/",
			options: func(o *CopyOptions) { o.Parents, o.Chmod = true, "700" },
			want:    files{"a": "dir @0700", "a/b": "dir @0700", "a/b/f": "file F @0700", "a/g": "file G @0700"},
		},
		{
			name: "directories without a match aren't made", context: tree, sources: []string{"**/g"}, dest: "/x",
			options: parents,
			want:    files{"x": "dir @0755", "x/a": "dir @0750", "x/a/g": "file G @0644"},
		},
		{
			name: "without any match the destination is made", context: tree, sources: []string{"a/none*"}, dest: "/x",
			options: parents,
			want:    files{"x": "dir @0755"},
		},
		{
			name: "the destination may lack its slash", context: tree, sources: []string{"a/g", "a/b/f"}, dest: "/x",
			options: parents,
			want: files{"x": "dir @0755", "x/a": "dir @0750", "x/a/g": "file G @0644", "x/a/b": "dir @0711",
				"x/a/b/f": "file F @0600"},
		},
		{
			name: "a link in the way isn't followed", context: tree, view: files{"a": "link /etc", "etc": "dir"},
			sources: []string{"a/g"}, dest: "/", options: parents, wantErr: "cannot copy to non-directory",
		},
		{
			name: "a file in the way", context: tree, view: files{"a": "file X"},
			sources: []string{"a/g"}, dest: "/", options: parents, wantErr: "cannot copy to non-directory",
		},
		{
			name: "hard links stay hard links", context: files{"a/f": "file F", "b/g": "hard a/f"}, sources: []string{"**"},
			dest:    "/",
			options: parents, want: files{"a": "dir @0755", "a/f": "file F @0644", "b": "dir @0755", "b/g": "hard a/f"},
		},
	})
}

func TestCopyWithExcludes(t *testing.T) {
	tree := files{"d/a.txt": "file A", "d/b.go": "file B", "d/s": "dir@0700:1:2", "d/s/c.txt": "file C", "d/s/k": "file K"}
	excluding := func(patterns ...string) func(*CopyOptions) { return func(o *CopyOptions) { o.Excludes = patterns } }
	runCopyCases(t, []copyCase{
		{
			name: "files", context: tree, sources: []string{"d"}, dest: "/x", options: excluding("**/*.txt"),
			want: files{"x": "dir @0755", "x/b.go": "file B @0644", "x/s": "dir @0700", "x/s/k": "file K @0644"},
		},
		{
			name: "a directory", context: tree, sources: []string{"d"}, dest: "/x", options: excluding("s"),
			want: files{"x": "dir @0755", "x/a.txt": "file A @0644", "x/b.go": "file B @0644"},
		},
		{
			name: "all but an exception", context: tree, sources: []string{"d"}, dest: "/x", options: excluding("*", "!s/k"),
			want: files{"x": "dir @0755", "x/s": "dir @0700", "x/s/k": "file K @0644"},
		},
		{
			name: "all leaves the destination", context: tree, sources: []string{"d"}, dest: "/x", options: excluding("*"),
			want: files{"x": "dir @0755"},
		},
		{
			name: "files that are sources", context: tree, sources: []string{"d/*.*"}, dest: "/x/", options: excluding("*.txt"),
			want: files{"x": "dir @0755", "x/b.go": "file B @0644"},
		},
		{
			name: "what is left needs no directory", context: tree, sources: []string{"d/*.*"}, dest: "/x",
			options: excluding("*.txt"),
			want:    files{"x": "file B @0644"},
		},
		{
			name: "what is excluded is no conflict", context: tree, view: files{"x/s": "file X"}, sources: []string{"d"},
			dest:    "/x",
			options: excluding("s", "*.txt"), want: files{"x": "dir @0755", "x/b.go": "file B @0644"},
		},
		{
			name: "unpacks nothing excluded", context: tree, sources: []string{"d/a.*"}, dest: "/x/",
			options: func(o *CopyOptions) { o.Excludes, o.UnpackArchives = []string{"a.txt"}, true }, want: files{},
		},
	})
}

func TestCopyWithoutAViewFollowsNothing(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"a": "file A"})
	plant(t, s.view, files{"l": "link /etc", "etc": "dir@0700", "d": "dir@0700:1:2"})
	for _, dest := range []string{"/l/", "/d/e/"} {
		o := s.options(t, []string{"a"}, dest)
		o.View = nil
		_, err := Copy(t.Context(), o)
		check(t, err)
	}
	got := read(t, s.layer)
	wanted := files{"l": "dir @0755", "l/a": "file A @0644", "d": "dir @0755", "d/e": "dir @0755"}
	for name, want := range wanted {
		if got[name] != want {
			t.Errorf("%s is %q, not %q", name, got[name], want)
		}
	}
}

func TestANewDestinationTakesTheTimeOfItsSource(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"d/s/f": "file F"})
	plant(t, s.view, files{"old": "dir"})
	when, before := time.Unix(1_000_000_000, 123_456_789), time.Unix(900_000_000, 1)
	for _, name := range []string{"/d/s/f", "/d/s", "/d"} {
		check(t, os.Chtimes(s.context+name, when, when))
	}
	check(t, os.Chtimes(s.view+"/old", before, before))
	check(t, s.copy(t, []string{"d"}, "/x/y"))
	check(t, s.copy(t, []string{"d"}, "/old"))
	wanted := map[string]time.Time{"/x/y": when, "/x/y/s": when, "/x/y/s/f": when, "/old": before, "/old/s": when}
	for name, want := range wanted {
		st := stat(t, s.layer+name)
		if got := time.Unix(st.Mtim.Unix()); !got.Equal(want) {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
	if st := stat(t, s.layer+"/x"); time.Since(time.Unix(st.Mtim.Unix())) > time.Hour {
		t.Error("the directory above took the time, too")
	}
}

func TestParentsDontLeadOut(t *testing.T) {
	for _, c := range []struct{ name, link, source string }{
		{"a link to a directory", "OUT", "link/secret"},
		{"a pattern", "OUT", "link/s*"},
		{"any depth", "OUT", "**/secret"},
		{"a base", "OUT", "link/./secret"},
		{"a base further down", "/", "linkOUT/./secret"},
		{"of a process", "/proc/self/root", "link/./*"},
		{"of a descriptor", "/proc/self/fd", "link/./**"},
		{"far up", "../../../../../../../../../..OUT", "link/./secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, outside := hostileStage(t)
			check(t, os.Symlink(strings.ReplaceAll(c.link, "OUT", outside), s.context+"/link"))
			o := s.options(t, []string{strings.ReplaceAll(c.source, "OUT", outside)}, "/x/")
			o.Parents = true
			_, err := Copy(t.Context(), o)
			noSecret(t, s, outside)
			if err == nil && len(read(t, s.layer)) > 1 {
				t.Errorf("something was copied: %v", read(t, s.layer))
			}
		})
	}
}

func TestWhatParentsMeetIsSwappedMeanwhile(t *testing.T) {
	for _, source := range []string{"d/e/secret", "**/secret", "d/./e/*"} {
		t.Run(source, func(t *testing.T) {
			s, outside := hostileStage(t)
			plant(t, s.context, files{"d/e/secret": "file harmless"})
			check(t, os.Symlink(outside, s.context+"/spare"))
			stop := flip(t, s.context+"/d/e", s.context+"/spare")
			defer stop()
			layer := s.layer
			for n := range 100 {
				s.layer = layer + "-" + string(rune('a'+n%26)) + string(rune('a'+n/26))
				check(t, os.Mkdir(s.layer, 0o755))
				o := s.options(t, []string{source}, "/x/")
				o.Parents, o.Excludes = true, []string{"**/none"}
				if _, err := Copy(t.Context(), o); err != nil && !expectedInRace(err) &&
					!strings.Contains(err.Error(), "follows no symlink") {
					t.Fatalf("unexpected error: %v", err)
				}
				noSecret(t, s, outside)
			}
		})
	}
}

func TestASocketThatTurnsIntoAFileIsNoStub(t *testing.T) {
	s := newStage(t)
	plant(t, s.context, files{"d/f": "file F"})
	check(t, unix.Mknod(s.context+"/spare", unix.S_IFSOCK|0o644, 0))
	stop := flip(t, s.context+"/d/f", s.context+"/spare")
	defer stop()
	layer := s.layer
	for n := range 100 {
		s.layer = layer + "-" + string(rune('a'+n%26)) + string(rune('a'+n/26))
		check(t, os.Mkdir(s.layer, 0o755))
		err := s.copy(t, []string{"d"}, "/x")
		if err != nil && !expectedInRace(err) {
			t.Fatalf("unexpected error: %v", err)
		}
		if got := read(t, s.layer)["x/f"]; err == nil && got != "file F @0644" && got != "file  @0644" && got != "" {
			t.Fatalf("got %q", got)
		}
	}
}
