package seccomp

import (
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRuntimesGetTheWholeFilter holds what runtimes are told against the list that the native filter is made of.
func TestRuntimesGetTheWholeFilter(t *testing.T) {
	f := filterSpec(abis())
	if f.Denied[0].Errno != uint(unix.EPERM) || !reflect.DeepEqual(f.Denied[1].Calls, []string{"clone3"}) ||
		f.Denied[1].Errno != uint(unix.ENOSYS) {
		t.Errorf("%+v", f.Denied)
	}
	for i, a := range abis() {
		if archOf(a.arch) == "" || f.Archs[i] != archOf(a.arch) {
			t.Errorf("arch %#x is %q", a.arch, f.Archs[i])
		}
		for _, c := range append(slices.Clone(a.denied), commonDenied()...) {
			if !slices.Contains(f.Denied[0].Calls, c.name) {
				t.Errorf("%s is not denied", c.name)
			}
		}
		for _, r := range a.args {
			found := r.call.name == "socketcall" // comes with socket
			for _, rule := range f.Args {
				found = found || rule.Call == r.call.name && rule.Arg == uint(r.arg) && rule.Mask == r.mask &&
					slices.Equal(rule.Values, r.values) && rule.Errno == uint(r.errno)
			}
			if !found {
				t.Errorf("no rule for %s on %s", r.call.name, f.Archs[i])
			}
		}
	}
}
