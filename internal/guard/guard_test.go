package guard_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/internal/guard"
)

func TestAPanicIsAnErrorThatNamesItsPlace(t *testing.T) {
	t.Parallel()
	var none map[string]int
	for name, test := range map[string]struct {
		f    func() error
		want string
	}{
		"with text":  {func() error { panic("text") }, ": text"},
		"with error": {func() error { panic(io.ErrUnexpectedEOF) }, ": unexpected EOF"},
		"of the runtime": {func() error {
			none["key"]++
			return nil
		}, "assignment to entry in nil map"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := guard.Call(test.f)
			p := new(guard.Panic)
			if !errors.As(err, &p) || !strings.Contains(err.Error(), "(guard_test.go:") ||
				!strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("got %v, want one of guard_test.go that ends with %q", err, test.want)
			}
			if strings.Contains(err.Error(), "\n") || len(p.Stack) == 0 {
				t.Errorf("%q, and %d bytes of stack", err, len(p.Stack))
			}
			if name == "with error" && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error("the error it was raised with is lost")
			}
		})
	}
}

func TestWhatDoesNotPanicIsAsItWas(t *testing.T) {
	t.Parallel()
	if err := guard.Func(func() error { return io.EOF })(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if err := guard.Call(func() error { return nil }); err != nil {
		t.Error(err)
	}
}
