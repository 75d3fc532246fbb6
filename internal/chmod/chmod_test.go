package chmod_test

import (
	"testing"

	"github.com/cooperbuild/cooper/internal/chmod"
)

func TestAModeIsChangedAsChmodDoes(t *testing.T) {
	for _, c := range []struct {
		spec  string
		mode  uint32
		dir   bool
		want  uint32
		wrong bool
	}{
		{spec: "755", mode: 0o4600, want: 0o755},
		{spec: "0", mode: 0o644, want: 0},
		{spec: "07777", mode: 0, want: 0o7777},
		{spec: "u+x", mode: 0o644, want: 0o744},
		{spec: "+x", mode: 0o644, want: 0o755},
		{spec: "+w", mode: 0o444, want: 0o666},
		{spec: "=rw", mode: 0o755, want: 0o666},
		{spec: "a+w", mode: 0o444, want: 0o666},
		{spec: "go-rwx", mode: 0o777, want: 0o700},
		{spec: "u=rw,g=r,o=", mode: 0o777, want: 0o640},
		{spec: "ug+s", mode: 0o755, want: 0o6755},
		{spec: "u=rwx", mode: 0o4755, want: 0o755},
		{spec: "u=rwx", mode: 0o4755, dir: true, want: 0o755},
		{spec: "u=s", mode: 0o755, want: 0o4055},
		{spec: "o+s,o+t", mode: 0o755, want: 0o755},
		{spec: "u+t", mode: 0o755, want: 0o1755},
		{spec: "u-t", mode: 0o1755, want: 0o755},
		{spec: "a=rx", mode: 0o1777, dir: true, want: 0o1555},
		{spec: "=", mode: 0o7777, want: 0o1000},
		{spec: "u=", mode: 0o4755, want: 0o055},
		{spec: "u=rwX,go=rX", mode: 0o600, want: 0o644},
		{spec: "u=rwX,go=rX", mode: 0o700, want: 0o755},
		{spec: "u=rwX,go=rX", mode: 0o700, dir: true, want: 0o755},
		{spec: "a-x,a+X", mode: 0o744, want: 0o755},
		{spec: "a-x,a+X", mode: 0o644, want: 0o644},
		{spec: "u+x,go+X", mode: 0o644, want: 0o744},
		{spec: "a-X", mode: 0o711, want: 0o600},
		{spec: "go=u-w", mode: 0o700, want: 0o755},
		{spec: "u=g", mode: 0o4750, want: 0o4550},
		{spec: "u=go", mode: 0o741, want: 0o141},
		{spec: "g=ru", mode: 0o2710, want: 0o770},
		{spec: "u-g", mode: 0o750, want: 0o250},
		{spec: "o+u", mode: 0o701, want: 0o707},
		{spec: "u+", mode: 0o644, want: 0o644},
		{spec: "+t", mode: 0o777, dir: true, want: 0o1777},
		{spec: "a+X", mode: 0o644, want: 0o644},
		{spec: "a+X", mode: 0o744, want: 0o755},
		{spec: "a+X", mode: 0o644, dir: true, want: 0o755},
		{spec: "g=u", mode: 0o750, want: 0o770},
		{spec: "o=g-w", mode: 0o670, want: 0o675},
		{spec: "u+r-w", mode: 0o200, want: 0o400},
		{spec: "888", wrong: true},
		{spec: "10000", wrong: true},
		{spec: "u", wrong: true},
		{spec: "u+q", wrong: true},
		{spec: "u+x,", wrong: true},
		{spec: "-1", wrong: true},
	} {
		change, err := chmod.Parse(c.spec)
		if (err != nil) != c.wrong {
			t.Errorf("%q: error %v", c.spec, err)
		}
		if err == nil && change.Apply(c.mode, c.dir) != c.want {
			t.Errorf("%q of %04o: got %04o, want %04o", c.spec, c.mode, change.Apply(c.mode, c.dir), c.want)
		}
	}
}
