package fileop

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMkdir(t *testing.T) {
	for _, c := range []struct {
		name    string
		view    files
		path    string
		options MkdirOptions
		want    files
		wantErr error
	}{
		{name: "new", path: "/a/b", want: files{"a": "dir @0755", "a/b": "dir @0755"}},
		{name: "exists", view: files{"a/b": "dir"}, path: "/a/b", want: files{}},
		{name: "the root", path: "/", want: files{}},
		{name: "below one that exists", view: files{"a": "dir@0711:4:5"}, path: "/a/b/",
			want: files{"a": "dir @0711:4:5", "a/b": "dir @0755"}},
		{name: "with owner and mode", path: "/a", options: MkdirOptions{Owner: Owner{6, 7}, Mode: 0o1777},
			want: files{"a": "dir @1777:6:7"}},
		{name: "through links", view: files{"l": "link /x/y"}, path: "/l/b", want: files{"x": "dir @0755", "x/y": "dir @0755",
			"x/y/b": "dir @0755"}},
		{name: "of a process's descriptor", path: "/proc/self/fd/7", want: files{
			"proc": "dir @0755", "proc/self": "dir @0755", "proc/self/fd": "dir @0755", "proc/self/fd/7": "dir @0755",
		}},
		{name: "a file in the way", view: files{"a": "file A"}, path: "/a/b", wantErr: ErrNotDirectory},
		{name: "a file in its place", view: files{"a": "file A"}, path: "/a", wantErr: ErrNotDirectory},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			plant(t, s.view, c.view)
			o := c.options
			o.View, o.Layer, o.Path, o.OverlayXattr = openRoot(t, s.view), s.layer, c.path, overlayXattr(t)
			created, err := Mkdir(t.Context(), o)
			wantError(t, err, c.wantErr)
			if err != nil {
				return
			}
			if created != (len(c.want) > 0) {
				t.Errorf("created is %v", created)
			}
			if diff := cmp.Diff(c.want, read(t, s.layer)); diff != "" {
				t.Errorf("layer (-want +got):\n%s", diff)
			}
		})
	}
}
