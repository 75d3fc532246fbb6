package cli

import (
	"runtime"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

func TestSignalsAreWaitedForUntilTheEndOnly(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		ctx, stop := signalContext()
		stop()
		if ctx.Err() == nil {
			t.Error("the context goes on")
		}
	}
	end := time.Now().Add(10 * time.Minute)
	for runtime.NumGoroutine() > before+5 {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

func TestEachFlagThatHasItsMeaningIsThere(t *testing.T) {
	t.Parallel()
	build, _, err := Tree().Find([]string{"build"})
	if err != nil {
		t.Fatal(err)
	}
	build.InitDefaultHelpFlag()
	for _, row := range dialect.Flags() {
		f := build.Flags().Lookup(row.Name)
		switch _, foreign := f.Value.(interface{ Foreign() }); {
		case row.Kind == dialect.Own && foreign, row.Kind != dialect.Own && !foreign:
			t.Errorf("--%s is of kind %d in the table, and the flag is not", row.Name, row.Kind)
		case row.Kind == dialect.Own && row.Switch != (f.Value.Type() == "bool"):
			t.Errorf("--%s: the table and the flag differ on whether it needs a value", row.Name)
		case row.Short != "" && build.Flags().ShorthandLookup(row.Short) == nil:
			t.Errorf("-%s is not there", row.Short)
		}
	}
}
