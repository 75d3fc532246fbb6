package registry_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/registry"
)

func TestOnlyWhatMayPassIsRetried(t *testing.T) {
	t.Parallel()
	passing, final := &net.OpError{Op: "dial", Err: errors.New("refused")}, errors.New("no such image")
	for name, test := range map[string]struct {
		errs         []error // of the tries; after them it succeeds
		times, tries int
		want         error
	}{
		"success":                {nil, 3, 1, nil},
		"passing":                {[]error{passing, passing}, 3, 3, nil},
		"passing for too long":   {[]error{passing, passing, passing}, 1, 2, passing},
		"final":                  {[]error{final}, 3, 1, final},
		"passing and then final": {[]error{passing, final}, 3, 2, final},
		"never again":            {[]error{passing}, 0, 1, passing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tries, told := 0, 0
			r := registry.Retries{Times: test.times, Delay: time.Millisecond}
			err := r.Do(t.Context(), func(wait time.Duration, err error) {
				told++
				if wait != time.Millisecond || !errors.Is(err, passing) {
					t.Errorf("told of %s, %v", wait, err)
				}
			}, func() error {
				tries++
				if tries > len(test.errs) {
					return nil
				}
				return test.errs[tries-1]
			})
			if !errors.Is(err, test.want) || tries != test.tries || told != tries-1 {
				t.Errorf("%d tries, told of %d: %v", tries, told, err)
			}
		})
	}
}

func TestAPauseBeforeARetryCanBeInterrupted(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := registry.Retries{Times: 1, Delay: time.Hour}.Do(ctx, func(time.Duration, error) { cancel(enough) },
		func() error { return &net.OpError{Op: "dial", Err: errors.New("refused")} })
	if !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}
