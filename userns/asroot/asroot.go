// Package asroot keeps tests that only the machine's root can run from being started by others, for TestMain. A test
// that is skipped looks like one that has passed.
package asroot

import (
	"flag"
	"fmt"

	"github.com/cooperbuild/cooper/userns"
)

// names matches the names of tests and benchmarks for root alone: TestAsRoot...
const names = "^(Test|Benchmark)AsRoot"

// Real reports whether this process is root outside of all user namespaces.
func Real() bool {
	own, err := userns.CurrentMapping()
	return err == nil && userns.IsRoot() && own.Initial()
}

// LeaveOut makes the testing package skip the tests for root alone if this process isn't the machine's root, and prints
// that it does. TestMain calls it before it runs the tests.
func LeaveOut() error { return LeaveOutNamed(names, "they need the machine's root") }

// LeaveOutNamed makes the testing package skip the tests whose names match a pattern, and prints why.
func LeaveOutNamed(left, why string) error {
	if !flag.Parsed() {
		flag.Parse() // otherwise m.Run parses the flags, which would overwrite the one that is set here
	}
	skip := flag.Lookup("test.skip")
	if skip == nil {
		return fmt.Errorf("leave out tests: this is no test program")
	}
	pattern := left
	if given := skip.Value.String(); given != "" {
		pattern = given + "|" + left
	}
	if err := skip.Value.Set(pattern); err != nil {
		return fmt.Errorf("leave out tests: %w", err)
	}
	fmt.Printf("not started, for %s: %s\n", why, left)
	return nil
}
