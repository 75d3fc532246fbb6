package executor_test

import (
	"context"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/executor"
)

func BenchmarkRunTrue(b *testing.B) {
	box := newBox(b)
	s := box.step("/bin/true")
	fastest := time.Hour
	for b.Loop() {
		start := time.Now()
		if status, err := executor.Run(context.Background(), s); err != nil || status.ExitCode != 0 {
			b.Fatalf("%+v %v", status, err)
		}
		fastest = min(fastest, time.Since(start))
	}
	b.ReportMetric(float64(fastest.Microseconds()), "µs-fastest")
}
