package fileop

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// copyCase is a COPY: a context and a parent, and what the layer holds afterwards.
type copyCase struct {
	name    string
	context files
	view    files
	sources []string
	dest    string
	options func(*CopyOptions)
	want    files
	// wantErr is part of the error.
	wantErr string
}

func runCopyCases(t *testing.T, cases []copyCase) {
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := newStage(t)
			plant(t, s.context, tc.context)
			plant(t, s.view, tc.view)
			o := s.options(t, tc.sources, tc.dest)
			if tc.options != nil {
				tc.options(&o)
			}
			fds := openFDs(t)
			res, err := Copy(t.Context(), o)
			if now := openFDs(t); now != fds {
				t.Errorf("%d descriptors before, %d after", fds, now)
			}
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("got error %v, want %q", err, tc.wantErr)
				}
				return
			}
			check(t, err)
			if diff := cmp.Diff(tc.want, read(t, s.layer)); diff != "" {
				t.Errorf("layer (-want +got):\n%s", diff)
			}
			checkOwnersTold(t, s, res)
		})
	}
}

func TestCopyOfOneFile(t *testing.T) {
	one := files{"a": "file A"}
	runCopyCases(t, []copyCase{
		{name: "to a new name", context: one, sources: []string{"a"}, dest: "/b", want: files{"b": "file A @0644"}},
		{name: "to the root", context: one, sources: []string{"a"}, dest: "/", want: files{"a": "file A @0644"}},
		{
			name: "makes parents", context: one, sources: []string{"a"}, dest: "/x/y/b",
			want: files{"x": "dir @0755", "x/y": "dir @0755", "x/y/b": "file A @0644"},
		},
		{
			name: "into a new directory", context: one, sources: []string{"a"}, dest: "/x/",
			want: files{"x": "dir @0755", "x/a": "file A @0644"},
		},
		{
			name: "slash dot means a directory", context: one, sources: []string{"a"}, dest: "/x/.",
			want: files{"x": "dir @0755", "x/a": "file A @0644"},
		},
		{
			name: "into a directory that exists, without a slash", context: one, view: files{"x": "dir @0711:3:4"},
			sources: []string{"a"}, dest: "/x", want: files{"x": "dir @0711:3:4", "x/a": "file A @0644"},
		},
		{
			name: "in place of a file", context: one, view: files{"b": "file old@0600:3:4"},
			sources: []string{"a"}, dest: "/b", want: files{"b": "file A @0644"},
		},
		{
			name: "source with a leading slash", context: one, sources: []string{"/a"}, dest: "/b",
			want: files{"b": "file A @0644"},
		},
		{name: "source with dot", context: one, sources: []string{"./a"}, dest: "/b", want: files{"b": "file A @0644"}},
		{
			name: "source cleaned before links are followed", context: files{"a": "file A", "l": "link d/e", "d/e": "dir"},
			sources: []string{"l/../a"}, dest: "/b", want: files{"b": "file A @0644"},
		},
		{
			name: "leading dot dot is dropped", context: one, sources: []string{"../../a"}, dest: "/b",
			want: files{"b": "file A @0644"},
		},
		{
			name: "mode is kept, with setuid", context: files{"a": "file A@4755"}, sources: []string{"a"}, dest: "/b",
			want: files{"b": "file A @4755"},
		},
		{
			name: "owner of a context is dropped", context: files{"a": "file A@0640:5:6"}, sources: []string{"a"}, dest: "/b",
			want: files{"b": "file A @0640"},
		},
		{
			name: "owner of a stage is kept", context: files{"a": "file A@0640:5:6"}, sources: []string{"a"}, dest: "/x/b",
			options: func(o *CopyOptions) { o.KeepOwner = true },
			want:    files{"x": "dir @0755", "x/b": "file A @0640:5:6"},
		},
		{
			name: "setuid outlives a change of owner", context: files{"a": "file A@6755"}, sources: []string{"a"}, dest: "/x/b",
			options: func(o *CopyOptions) { o.Chown = &Owner{7, 8} },
			want:    files{"x": "dir @0755:7:8", "x/b": "file A @6755:7:8"},
		},
		{
			name: "chmod in octal", context: one, sources: []string{"a"}, dest: "/x/b",
			options: func(o *CopyOptions) { o.Chmod = "4711" },
			want:    files{"x": "dir @0711", "x/b": "file A @4711"},
		},
		{
			name: "symbolic chmod leaves the directories that are made", context: one, sources: []string{"a"}, dest: "/x/y/b",
			options: func(o *CopyOptions) { o.Chmod = "a+w" },
			want:    files{"x": "dir @0755", "x/y": "dir @0755", "x/y/b": "file A @0666"},
		},
		{
			name: "chmod leaves a directory that is there", context: one, sources: []string{"a"}, dest: "/x/y/",
			view:    files{"x": "dir@0750"},
			options: func(o *CopyOptions) { o.Chmod = "640" },
			want:    files{"x": "dir @0750", "x/y": "dir @0640", "x/y/a": "file A @0640"},
		},
		{
			name: "mode that the umask would cut", context: files{"a": "file A@0666"}, sources: []string{"a"}, dest: "/b",
			want: files{"b": "file A @0666"},
		},
		{
			name: "a FIFO", context: files{"p": "fifo@0622"}, sources: []string{"p"}, dest: "/q",
			want: files{"q": "10000 0:0 @0622"},
		},
		{
			name: "empty file", context: files{"a": "file "}, sources: []string{"a"}, dest: "/b",
			want: files{"b": "file  @0644"},
		},
	})
}

func TestCopyOfADirectory(t *testing.T) {
	tree := files{"d": "dir@0700:1:1", "d/f": "file F@0600", "d/s": "dir@0710:1:1", "d/s/g": "file G", "d/e": "dir@0777"}
	runCopyCases(t, []copyCase{
		{
			name: "copies its contents", context: tree, sources: []string{"d"}, dest: "/x",
			want: files{
				"x": "dir @0755", "x/f": "file F @0600", "x/s": "dir @0710", "x/s/g": "file G @0644", "x/e": "dir @0777",
			},
		},
		{
			name: "with a slash too", context: tree, sources: []string{"d/"}, dest: "/x/",
			want: files{
				"x": "dir @0755", "x/f": "file F @0600", "x/s": "dir @0710", "x/s/g": "file G @0644", "x/e": "dir @0777",
			},
		},
		{
			name: "the whole context", context: files{"a": "file A"}, sources: []string{"."}, dest: "/x/y",
			want: files{"x": "dir @0755", "x/y": "dir @0755", "x/y/a": "file A @0644"},
		},
		{
			name: "to the root", context: files{"d/a": "file A"}, sources: []string{"d"}, dest: "/",
			want: files{"a": "file A @0644"},
		},
		{
			name: "an empty directory makes its destination", context: files{"d": "dir"}, sources: []string{"d"}, dest: "/x",
			want: files{"x": "dir @0755"},
		},
		{
			name: "an empty directory changes nothing that exists", context: files{"d": "dir"}, view: files{"x": "dir@0700"},
			sources: []string{"d"}, dest: "/x", want: files{},
		},
		{
			name: "a destination that exists keeps its attributes", context: tree, view: files{"x": "dir@0701:9:9"},
			sources: []string{"d"}, dest: "/x",
			want: files{
				"x": "dir @0701:9:9", "x/f": "file F @0600", "x/s": "dir @0710", "x/s/g": "file G @0644", "x/e": "dir @0777",
			},
		},
		{
			name: "directories below take the source's attributes", context: tree, view: files{"x/s": "dir@0755:9:9"},
			sources: []string{"d"}, dest: "/x",
			want: files{
				"x": "dir @0755", "x/f": "file F @0600", "x/s": "dir @0710", "x/s/g": "file G @0644", "x/e": "dir @0777",
			},
		},
		{
			name: "owners of a stage are kept below", context: tree, sources: []string{"d"}, dest: "/x",
			options: func(o *CopyOptions) { o.KeepOwner = true },
			want: files{
				"x": "dir @0755", "x/f": "file F @0600", "x/s": "dir @0710:1:1", "x/s/g": "file G @0644", "x/e": "dir @0777",
			},
		},
		{
			name: "chown holds for all that is made", context: files{"d/s/g": "file G"}, sources: []string{"d"}, dest: "/x/y",
			view:    files{"x": "dir@0755:1:1"},
			options: func(o *CopyOptions) { o.Chown = &Owner{7, 8} },
			want: files{
				"x": "dir @0755:1:1", "x/y": "dir @0755:7:8", "x/y/s": "dir @0755:7:8", "x/y/s/g": "file G @0644:7:8",
			},
		},
		{
			name: "chmod holds for files and directories below", context: files{"d/s/g": "file G"}, sources: []string{"d"},
			dest:    "/x",
			options: func(o *CopyOptions) { o.Chmod = "0700" },
			want:    files{"x": "dir @0700", "x/s": "dir @0700", "x/s/g": "file G @0700"},
		},
		{
			name: "symbolic chmod with X", context: files{"d/s/g": "file G@0600", "d/h": "file H@0700"}, sources: []string{"d"},
			dest:    "/x",
			options: func(o *CopyOptions) { o.Chmod = "go=rX,u-w" },
			want:    files{"x": "dir @0755", "x/s": "dir @0555", "x/s/g": "file G @0444", "x/h": "file H @0555"},
		},
		{
			name: "links stay links, wherever they lead", sources: []string{"d"}, dest: "/x",
			context: files{"d/a": "link /etc/passwd", "d/b": "link ../../../..", "d/c": "link nowhere"},
			want:    files{"x": "dir @0755", "x/a": "link /etc/passwd", "x/b": "link ../../../..", "x/c": "link nowhere"},
		},
		{
			name: "hard links stay hard links", sources: []string{"d"}, dest: "/x",
			context: files{"d/a": "file A", "d/b/c": "hard d/a"},
			want:    files{"x": "dir @0755", "x/a": "file A @0644", "x/b": "dir @0755", "x/b/c": "hard x/a"},
		},
	})
}

func TestCopyOfADirectoryOverOthers(t *testing.T) {
	tree := files{"d": "dir@0700:1:1", "d/f": "file F@0600", "d/s": "dir@0710:1:1", "d/s/g": "file G", "d/e": "dir@0777"}
	runCopyCases(t, []copyCase{
		{
			name: "files replace files and links", sources: []string{"d"}, dest: "/x",
			context: files{"d/a": "file A", "d/b": "link new", "d/c": "file C"},
			view:    files{"x/a": "file old", "x/b": "file old", "x/c": "link /etc", "etc": "dir"},
			want:    files{"x": "dir @0755", "x/a": "file A @0644", "x/b": "link new", "x/c": "file C @0644"},
		},
		{
			name: "not over a file", context: tree, view: files{"x": "file X"}, sources: []string{"d"}, dest: "/x",
			wantErr: "cannot copy to non-directory",
		},
		{
			name: "not over a file further down", context: tree, view: files{"x/s": "file X"}, sources: []string{"d"},
			dest:    "/x",
			wantErr: "cannot copy to non-directory",
		},
		{
			name: "not over a link to a directory further down", context: tree, view: files{"x/s": "link /y", "y": "dir"},
			sources: []string{"d"}, dest: "/x", wantErr: "cannot copy to non-directory",
		},
		{
			name: "no file over a directory", context: tree, view: files{"x/f/z": "file Z"}, sources: []string{"d"}, dest: "/x",
			wantErr: "cannot overwrite directory with file",
		},
		{
			name: "no deletion by name", context: files{"d/.wh.etc": "file "}, sources: []string{"d"}, dest: "/",
			wantErr: "reserved for deletions in a layer",
		},
	})
}

func TestCopyToADestinationWithLinks(t *testing.T) {
	one := files{"a": "file A", "d/f": "file F"}
	runCopyCases(t, []copyCase{
		{
			name: "through a link to a directory", context: one, view: files{"bin": "link usr/bin", "usr/bin": "dir@0750"},
			sources: []string{"a"}, dest: "/bin/a",
			want: files{"usr": "dir @0755", "usr/bin": "dir @0750", "usr/bin/a": "file A @0644"},
		},
		{
			name: "the last component is followed to a directory", context: one, view: files{"l": "link /t/u", "t/u": "dir"},
			sources: []string{"d"}, dest: "/l",
			want: files{"t": "dir @0755", "t/u": "dir @0755", "t/u/f": "file F @0644"},
		},
		{
			name: "the last component is followed to a file", context: one, view: files{"l": "link t", "t": "file old"},
			sources: []string{"a"}, dest: "/l", want: files{"t": "file A @0644"},
		},
		{
			name: "a link to nothing is followed to where it would be", context: one, view: files{"l": "link /t/u"},
			sources: []string{"a"}, dest: "/l", want: files{"t": "dir @0755", "t/u": "file A @0644"},
		},
		{
			name: "a link in a destination directory is replaced", context: one, view: files{"x/a": "link /etc/passwd"},
			sources: []string{"a"}, dest: "/x/", want: files{"x": "dir @0755", "x/a": "file A @0644"},
		},
		{
			name: "links don't lead out of the image", context: one, view: files{"l": "link ../../../../tmp/escape"},
			sources: []string{"d"}, dest: "/l/",
			want: files{"tmp": "dir @0755", "tmp/escape": "dir @0755", "tmp/escape/f": "file F @0644"},
		},
		{
			name: "links in a circle", context: one, view: files{"l": "link m", "m": "link l"}, sources: []string{"a"},
			dest:    "/l/x",
			wantErr: "too many levels of symbolic links",
		},
		{
			name: "a file in the way", context: one, view: files{"x": "file X"}, sources: []string{"a"}, dest: "/x/b",
			wantErr: "not a directory",
		},
		{
			name: "a slash after a file", context: one, view: files{"x": "file X"}, sources: []string{"a"}, dest: "/x/",
			wantErr: "cannot copy to non-directory",
		},
		{name: "a relative destination", context: one, sources: []string{"a"}, dest: "x", wantErr: "isn't absolute"},
	})
}

func TestCopyOfSeveralSources(t *testing.T) {
	two := files{"a.txt": "file A", "b.txt": "file B", "d1/x": "file 1", "d2/x": "file 2", "d2/y": "file Y"}
	runCopyCases(t, []copyCase{
		{
			name: "into a directory", context: two, sources: []string{"a.txt", "b.txt"}, dest: "/x/",
			want: files{"x": "dir @0755", "x/a.txt": "file A @0644", "x/b.txt": "file B @0644"},
		},
		{
			name: "into one that exists", context: two, view: files{"x": "dir"}, sources: []string{"a.txt", "b.txt"}, dest: "/x",
			want: files{"x": "dir @0755", "x/a.txt": "file A @0644", "x/b.txt": "file B @0644"},
		},
		{
			name: "not without a slash", context: two, sources: []string{"a.txt", "b.txt"}, dest: "/x",
			wantErr: "must be a directory and end with a /",
		},
		{
			name: "not of a pattern either", context: two, sources: []string{"*.txt"}, dest: "/x",
			wantErr: "must be a directory and end with a /",
		},
		{
			name: "a pattern that matches one file", context: two, sources: []string{"a*"}, dest: "/x",
			want: files{"x": "file A @0644"},
		},
		{
			name: "directories of a pattern are merged, the last wins", context: two, sources: []string{"d*"}, dest: "/x",
			want: files{"x": "dir @0755", "x/x": "file 2 @0644", "x/y": "file Y @0644"},
		},
		{
			name: "files and directories", context: two, sources: []string{"d1", "a.txt"}, dest: "/x/",
			want: files{"x": "dir @0755", "x/x": "file 1 @0644", "x/a.txt": "file A @0644"},
		},
		{
			name: "a pattern in the middle", context: two, sources: []string{"d?/x"}, dest: "/x/",
			want: files{"x": "dir @0755", "x/x": "file 2 @0644"},
		},
		{
			name: "a pattern that matches nothing beside one that does", context: two, sources: []string{"a.txt", "lock*"},
			dest: "/x/",
			want: files{"x": "dir @0755", "x/a.txt": "file A @0644"},
		},
		{
			name: "a pattern that matches nothing", context: two, sources: []string{"lock*"}, dest: "/x/", want: files{},
		},
		{
			name: "a pattern in a directory that isn't there", context: two, sources: []string{"d3/*"}, dest: "/x/",
			wantErr: `"d3/*" matches no file`,
		},
		{
			name: "several of which one is left", context: two, sources: []string{"a.txt", "lock*"}, dest: "/x",
			want: files{"x": "file A @0644"},
		},
		{
			name: "directories need no slash", context: two, sources: []string{"d1", "d2"}, dest: "/x",
			want: files{"x": "dir @0755", "x/x": "file 2 @0644", "x/y": "file Y @0644"},
		},
		{
			name: "nor does a file after a directory", context: two, sources: []string{"d1", "a.txt"}, dest: "/x",
			want: files{"x": "dir @0755", "x/x": "file 1 @0644", "x/a.txt": "file A @0644"},
		},
		{
			name: "a directory after a file does", context: two, sources: []string{"a.txt", "d1"}, dest: "/x",
			wantErr: "must be a directory and end with a /",
		},
		{
			name: "a pattern that can't be", context: two, sources: []string{"a[", "a.txt"}, dest: "/x/",
			wantErr: "syntax error in pattern",
		},
		{
			name: "a bracket that is taken literally", context: files{"a[0].txt": "file A", "a0.txt": "file B"},
			sources: []string{"a[[]0].txt"}, dest: "/x/", want: files{"x": "dir @0755", "x/a[0].txt": "file A @0644"},
		},
		{
			name: "links that a pattern matches are followed", context: files{"l1": "link t", "t": "file T"},
			sources: []string{"l*"}, dest: "/x/", want: files{"x": "dir @0755", "x/l1": "file T @0644"},
		},
		{
			name: "a link named is followed, and keeps its name", context: files{"l": "link sub/t", "sub/t": "file T@0600"},
			sources: []string{"l"}, dest: "/x/", want: files{"x": "dir @0755", "x/l": "file T @0600"},
		},
		{
			name: "a link to a directory means its contents", context: files{"l": "link /sub", "sub/t": "file T"},
			sources: []string{"l"}, dest: "/x", want: files{"x": "dir @0755", "x/t": "file T @0644"},
		},
		{
			name: "inline files come last", context: two, sources: []string{"a.txt"}, dest: "/x/",
			options: func(o *CopyOptions) {
				o.Files = []InlineFile{{Path: "a.txt", Data: []byte("inline")}, {Path: "n", Mode: 0o755}}
			},
			want: files{"x": "dir @0755", "x/a.txt": "file inline @0644", "x/n": "file  @0755"},
		},
		{
			name: "an inline file under another name", dest: "/x/y",
			options: func(o *CopyOptions) {
				o.Files = []InlineFile{{Path: "a", Data: []byte("A")}}
				o.Chmod, o.Chown = "u+x", &Owner{3, 4}
			},
			want: files{"x": "dir @0755:3:4", "x/y": "file A @0744:3:4"},
		},
		{
			name: "not found, with what looks like it", context: files{"config.yaml": "file "}, sources: []string{"confg.yaml"},
			dest:    "/x",
			wantErr: `"confg.yaml" not found; did you mean "config.yaml"?`,
		},
		{
			name: "outside", context: two, sources: []string{"../secret"}, dest: "/x",
			wantErr: `"../secret" is outside the build context`,
		},
	})
}
