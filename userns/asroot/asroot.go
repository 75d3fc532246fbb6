// Package asroot keeps tests that only the machine's root can run from being started by others, for TestMain. A test
// that is skipped looks like one that has passed.
package asroot

import (
	"flag"
	"fmt"

	"github.com/cooperbuild/cooper/userns"
)

// names are those of tests and benchmarks for root alone: TestAsRoot...
const names = "^(Test|Benchmark)AsRoot"

// Real reports whether this process is root outside of all user namespaces.
func Real() bool {
	own, err := userns.CurrentMapping()
	return err == nil && userns.IsRoot() && own.Initial()
}

// LeaveOut has the tests for root alone not started, and says so. It is for TestMain, before it runs the tests.
func LeaveOut() error {
	if !flag.Parsed() {
		flag.Parse() // else it would be done later, and undo this
	}
	skip := flag.Lookup("test.skip")
	if skip == nil {
		return fmt.Errorf("leave out tests: this is no test program")
	}
	pattern := names
	if given := skip.Value.String(); given != "" {
		pattern = given + "|" + names
	}
	if err := skip.Value.Set(pattern); err != nil {
		return fmt.Errorf("leave out tests: %w", err)
	}
	fmt.Printf("not started, for they need the machine's root: %s\n", names)
	return nil
}
