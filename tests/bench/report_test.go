package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedianIsTheMiddleOrTheMeanOfTheTwoMiddleValues(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		list []float64
		want float64
	}{
		"none": {nil, 0},
		"one":  {[]float64{7}, 7},
		"odd":  {[]float64{9, 1, 5}, 5},
		"even": {[]float64{4, 1, 2, 8}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := median(test.list); got != test.want {
				t.Errorf("median(%v) = %v, want %v", test.list, got, test.want)
			}
		})
	}
}

func TestVerdictsHoldEveryGoalAgainstWhatWasMeasured(t *testing.T) {
	t.Parallel()
	all := goal{Wall: 250 * time.Millisecond, OfLimit: 1.35, More: 100 * time.Millisecond, OverBuildah: 10}
	for name, test := range map[string]struct {
		found map[string]values
		want  string
	}{
		"all reached": {
			map[string]values{"cooper": {Median: 0.2, Peak: 50 << 20}, "limit": {Median: 0.15}, "buildah": {Median: 3}},
			"<= 250 ms: 200 ms true; <= 1.35 x limit: 1.33 x true; <= limit + 100 ms: 50 ms true; >= 10 x faster than buildah: 15.0 x true; <= 100 MiB: 50 MiB true",
		},
		"all missed": {
			map[string]values{"cooper": {Median: 0.3, Peak: 101 << 20}, "limit": {Median: 0.15}, "buildah": {Median: 2.7}},
			"<= 250 ms: 300 ms false; <= 1.35 x limit: 2.00 x false; <= limit + 100 ms: 150 ms false; >= 10 x faster than buildah: 9.0 x false; <= 100 MiB: 101 MiB false",
		},
		"without buildah": {
			map[string]values{"cooper": {Median: 0.2}, "limit": {Median: 0.15}},
			"<= 250 ms: 200 ms true; <= 1.35 x limit: 1.33 x true; <= limit + 100 ms: 50 ms true; <= 100 MiB: 0 MiB true",
		},
		"without cooper": {map[string]values{"limit": {Median: 1}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, v := range judge(all, test.found) {
				reached := " false"
				if v.Reached {
					reached = " true"
				}
				got = append(got, v.Goal+": "+v.Found+reached)
			}
			if got := strings.Join(got, "; "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestReportIsWrittenWholeAndNamesWhatWasMissed(t *testing.T) {
	t.Parallel()
	r := row{ID: "copy", Work: "COPY", Limit: limit{Text: "cp"}, Goal: goal{OfLimit: 1.5}}
	second := sample{Wall: time.Second, Durable: 2 * time.Second, Peak: 1 << 20,
		Processor: 500 * time.Millisecond}
	rep := report{About: about{Tools: map[string]string{"cooper": "cooper 1.0"}}, Rows: []result{
		newResult(r, map[string][]sample{"cooper": {{Wall: 3 * time.Second}, second,
			{Wall: 2 * time.Second, Processor: 1500 * time.Millisecond}},
			"limit": {second}}),
	}}
	dir := t.TempDir()
	if err := rep.write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := "| copy: COPY | 2.00 s | 1.00 s (2.00 s) | 2.00 | - | - | 500 ms (500 ms) | 1 MiB | " +
		"<= 1.5 x limit, <= 100 MiB | **no** |"
	if !strings.Contains(string(page), want) {
		t.Errorf("the page lacks the line\n%s\n%s", want, page)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("got %v, %v: want the two reports and nothing else", entries, err)
	}
}

func TestRowsAreChosenByNameInTheTablesOrder(t *testing.T) {
	t.Parallel()
	rows, err := chooseRows([]string{"stages4", "start"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(rowIDs(rows), " "); got != "start stages4" {
		t.Errorf("got %s", got)
	}
	images, err := chooseRows([]string{"push", "images", "start"})
	if got := strings.Join(rowIDs(images), " "); err != nil || got != "start pull pull-files pull-zstd copyfrom1g "+
		"archive-gzip archive-zstd archive-again archive-base push push-early push-unchanged pull-update cache-warm" {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := chooseRows([]string{"nope"}); err == nil || !strings.Contains(err.Error(), `"nope"`) {
		t.Errorf("got %v, want an error that names the unknown row", err)
	}
}

func TestFreeSubIDsLieAboveAllOthers(t *testing.T) {
	t.Parallel()
	alice := account{Name: "alice", UID: 1000}
	for name, test := range map[string]struct {
		file string
		want uint64
		has  bool
	}{
		"empty":          {"", 100000, false},
		"others":         {"bob:100000:65536\ncarol:300000:1000\n", 301000, false},
		"by name":        {"alice:100000:65536\n", 165536, true},
		"by number":      {"1000:200000:65536\n", 265536, true},
		"garbage":        {"# a comment\nalice:x:1\nbob\n", 100000, false},
		"low ranges":     {"bob:1000:10\n", 100000, false},
		"no end newline": {"bob:100000:1", 100001, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "subuid")
			if err := os.WriteFile(file, []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, has, err := freeSubIDs(file, alice)
			if err != nil || got != test.want || has != test.has {
				t.Errorf("got %d, %v, %v; want %d, %v", got, has, err, test.want, test.has)
			}
		})
	}
	if got, has, err := freeSubIDs(filepath.Join(t.TempDir(), "none"), alice); err != nil || got != 100000 || has {
		t.Errorf("without a file: got %d, %v, %v", got, has, err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	kept := &tail{}
	for range 3 {
		if _, err := kept.Write([]byte(strings.Repeat("a", stderrKept))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kept.Write([]byte("end")); err != nil {
		t.Fatal(err)
	}
	if got := kept.String(); len(got) != stderrKept || !strings.HasSuffix(got, "aend") {
		t.Errorf("kept %d bytes that end in %q", len(got), got[len(got)-4:])
	}
}

func TestLastInitIsWhenTheLastPackageWasReady(t *testing.T) {
	const trace = "init runtime @0.10 ms, 0.05 ms clock, 0 bytes, 0 allocs\n" +
		"init example.org/x @1.5 ms, 2.25 ms clock, 12 bytes, 3 allocs\nsomething else\n"
	got, err := lastInit(trace)
	if err != nil || got != 3750*time.Microsecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "init x @a ms, 1 ms clock", "init x @1 ms, b ms clock"} {
		if got, err := lastInit(bad); err == nil {
			t.Errorf("%q: got %v and no error", bad, got)
		}
	}
}
