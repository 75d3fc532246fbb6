package working

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
)

func TestOutputIsWrittenAgainInItsOrder(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	out, errs := r.stream(stdout, io.Discard), r.stream(stderr, io.Discard)
	for _, w := range []io.Writer{out, out, errs, out} {
		if _, err := io.WriteString(w, "x"); err != nil {
			t.Fatal(err)
		}
	}
	packed, err := r.packed()
	if err != nil {
		t.Fatal(err)
	}
	parts, ok := unpack(packed)
	want := []part{{stdout, []byte("xx")}, {stderr, []byte("x")}, {stdout, []byte("x")}}
	if diff := cmp.Diff(want, parts); !ok || diff != "" {
		t.Error(diff)
	}
	var gotOut, gotErrs bytes.Buffer
	if err := replay(parts, &gotOut, &gotErrs); err != nil || gotOut.String() != "xxx" || gotErrs.String() != "x" {
		t.Errorf("%q, %q, %v", gotOut.String(), gotErrs.String(), err)
	}
}

func TestOutputOfNothingIsKeptToo(t *testing.T) {
	t.Parallel()
	packed, err := new(recorder).packed()
	if err != nil {
		t.Fatal(err)
	}
	if parts, ok := unpack(packed); !ok || len(parts) > 0 {
		t.Errorf("%v, %t", parts, ok)
	}
	for _, damaged := range [][]byte{nil, []byte("x"), packed[:len(packed)-6]} {
		if _, ok := unpack(damaged); ok {
			t.Errorf("%q can be read", damaged)
		}
	}
}

func TestTooMuchOutputIsNotKept(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	var shown bytes.Buffer
	w := r.stream(stdout, &shown)
	for range 2 {
		if _, err := w.Write(make([]byte, maxOutput/2+1)); err != nil {
			t.Fatal(err)
		}
	}
	if !r.tooMuch() || r.parts != nil || shown.Len() != maxOutput+2 {
		t.Errorf("%t, %d parts, %d bytes shown", r.tooMuch(), len(r.parts), shown.Len())
	}
}

func TestOnlySomeStreamsHaveInput(t *testing.T) {
	t.Parallel()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if hasInput(nil) || hasInput(null) || !hasInput(file) {
		t.Errorf("%t, %t, %t", hasInput(nil), hasInput(null), hasInput(file))
	}
}

func TestMountsOfCommands(t *testing.T) {
	t.Parallel()
	cache := plan.Mount{Type: plan.MountCache, Source: "/", Target: "/c", ID: "/c", Sharing: plan.SharingShared,
		Mode: 0o755}
	for text, want := range map[string]Command{
		"type=tmpfs,dst=/t,tmpfs-size=1m": {Mounts: []plan.Mount{{Type: plan.MountTmpfs, Target: "/t", SizeBytes: 1 << 20,
			Sharing: plan.SharingShared, Mode: 0o755}}},
		"type=cache,target=/c/.": {Mounts: []plan.Mount{cache}},
		"type=cache,target=/c,id=n,sharing=locked,uid=5,mode=700,ro": {Mounts: []plan.Mount{{Type: plan.MountCache, Source: "/",
			Target: "/c", ID: "n", Sharing: plan.SharingLocked, UID: 5, Mode: 0o700, Owned: true, ReadOnly: true}}},
	} {
		var got Command
		if err := AddMount(text, "", &got, &Options{}); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want.Mounts, got.Mounts); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for text, want := range map[string]runstep.Volume{
		"type=bind,src=/a/../b,target=/t,ro": {Source: "/b", Target: "/t", ReadOnly: true},
		"source=x,target=/t,ro=false,z":      {Source: "/ctx/x", Target: "/t"},
		"src=x,dst=/t,rw=false":              {Source: "/ctx/x", Target: "/t", ReadOnly: true},
	} {
		var o Options
		if err := AddMount(text, "/ctx", &Command{}, &o); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff([]runstep.Volume{want}, o.Run.Volumes); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for text, want := range map[string]string{
		"type=bind,target=/t": "needs a source", "type=cache": "needs a target", "type=secret,target=/s": "only a build",
		"type=volume,target=/v": "must be bind, cache or tmpfs", "type=tmpfs,target=t": "must be absolute",
		"type=tmpfs,target=/t,src=/x": "only a bind has a source", "type=cache,target=/c,sharing=x": "must be shared",
		"type=tmpfs,target=/t,size=x": "must be a size", "src=/a,dst=/t,ro=x": "must be true or false",
		"src=/a,dst=/t,foo=1": "foo is not supported", "type=cache,target=/c,uid=x": "must be a number",
	} {
		if err := AddMount(text, "", &Command{}, &Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
