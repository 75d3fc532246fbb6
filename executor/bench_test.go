package executor_test

import (
	"context"
	"testing"

	"github.com/cooperbuild/cooper/executor"
)

func BenchmarkRunTrue(b *testing.B) {
	box := newBox(b)
	s := box.step("/bin/true")
	for b.Loop() {
		if status, err := executor.Run(context.Background(), s); err != nil || status.ExitCode != 0 {
			b.Fatalf("%+v %v", status, err)
		}
	}
}
