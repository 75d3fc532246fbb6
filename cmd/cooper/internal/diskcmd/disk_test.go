package diskcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
)

func diskUsage() reclaim.Usage {
	ago := time.Now().Add(-3 * time.Hour)
	return reclaim.Usage{
		Kinds: []reclaim.KindUsage{{Kind: disk.Images}, {Kind: disk.Layers, Count: 1, Bytes: 1500, Reclaimable: 500,
			LastUse: ago}},
		Items: []disk.Item{
			{Kind: disk.Layers, ID: strings.Repeat("ab", 32), About: "RUN <a> & b\nsecond line",
				Size: usage.Size{Bytes: 1500}, LastUse: ago,
				InUse: true},
			{Kind: disk.Mounts, ID: "id", Label: "la\x1b[2Jbel", About: strings.Repeat("ü", 61)},
		},
	}
}

func TestDfWritesATableAndItsItems(t *testing.T) {
	var text bytes.Buffer
	if err := (&dfOptions{verbose: true}).write(&text, diskUsage()); err != nil {
		t.Fatal(err)
	}
	want := `TYPE    COUNT  SIZE   RECLAIMABLE  LAST USED
images  0      0B     0B           unknown
layers  1      1.5kB  500B         3 hours ago

TYPE    ID            SIZE   LAST USED    WHAT
layers  abababababab  1.5kB  3 hours ago  in use: RUN <a> & b
mounts  la?[2Jbel     0B     unknown      ` + strings.Repeat("ü", 60) + "...\n"
	if text.String() != want {
		t.Errorf("got\n%swant\n%s", text.String(), want)
	}
	text.Reset()
	if err := (&dfOptions{}).write(&text, diskUsage()); err != nil || strings.Contains(text.String(), "WHAT") {
		t.Errorf("without -v: %s, %v", text.String(), err)
	}
}

func TestDfWritesJSON(t *testing.T) {
	var text bytes.Buffer
	if err := (&dfOptions{format: "json", verbose: true}).write(&text, diskUsage()); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Types []struct {
			Type               string
			Count              int
			Bytes, Reclaimable int64
			LastUse            *time.Time
		}
		Items []struct {
			Type, ID, Name, About string
			InUse                 bool
		}
	}
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Types) != 2 || got.Types[0].LastUse != nil || got.Types[1].LastUse == nil ||
		got.Types[1].Reclaimable != 500 ||
		len(got.Items) != 2 || got.Items[0].About != "RUN <a> & b\nsecond line" || !got.Items[0].InUse ||
		got.Items[1].Name != "la\x1b[2Jbel" {
		t.Errorf("%+v", got)
	}
	if strings.Contains(text.String(), `\u003c`) || strings.Contains(text.String(), "\x1b") {
		t.Errorf("%s", text.String())
	}
	text.Reset()
	if err := (&dfOptions{format: "json"}).write(&text, diskUsage()); err != nil ||
		strings.Contains(text.String(), "items") {
		t.Errorf("without -v: %s, %v", text.String(), err)
	}
}

func TestRecordsAreOneLineOfWhatGoes(t *testing.T) {
	now := time.Now()
	record := func(bytes int64, used time.Time) disk.Item {
		return disk.Item{Kind: disk.Records, Size: usage.Size{Bytes: bytes}, LastUse: used}
	}
	got := withoutRecords([]disk.Item{record(1, now), {Kind: disk.Layers, ID: "l"}, record(2, now.Add(time.Hour)),
		record(3, time.Time{})})
	if len(got) != 2 || got[0].ID != "l" || got[1].Name() != "3 of them" || got[1].Size.Bytes != 6 ||
		!got[1].LastUse.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v", got)
	}
	if got := withoutRecords(nil); len(got) != 0 {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestAQuestionEndsWithTheContext(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = read.Close(), write.Close() }()
	errs, err := os.Create(filepath.Join(t.TempDir(), "errors"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errs.Close() }()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	items := []disk.Item{{Kind: disk.Layers, Size: usage.Size{Bytes: 1000}}, {Kind: disk.Records}, {Kind: disk.Layers}}
	yes, err := ask(ctx, command.Env{Stdin: read, Stderr: errs}, items)
	if yes || !errors.Is(err, why) {
		t.Errorf("%v, %v", yes, err)
	}
	text, err := os.ReadFile(errs.Name())
	if want := "This will remove layers (2), records (1): 1kB.\nAre you sure you want to continue? [y/N] "; string(
		text) != want ||
		err != nil {
		t.Errorf("it asks %q, %v", text, err)
	}
}

func TestNoAnswerIsNo(t *testing.T) {
	errs, err := os.Create(filepath.Join(t.TempDir(), "errors"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errs.Close() }()
	for text, want := range map[string]bool{
		"": false, "\n": false, "y": true, "Y\n": true, "yes\n": true, "YES": true, "yep\n": false, "n\ny\n": false,
	} {
		in, err := os.Open(filepath.Join(contextDir(t, map[string]string{"in": text}), "in"))
		if err != nil {
			t.Fatal(err)
		}
		yes, err := ask(t.Context(), command.Env{Stdin: in, Stderr: errs}, nil)
		if yes != want || !want && !errors.Is(err, errNotSure) || want && err != nil {
			t.Errorf("%q: %v, %v", text, yes, err)
		}
		_ = in.Close()
	}
}

func TestThePolicyOfPruneIsThatOfItsFlags(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, tt := range map[string]struct {
		o    pruneOptions
		want disk.Policy
	}{
		"nothing":        {pruneOptions{}, disk.Policy{}},
		"all":            {pruneOptions{all: true}, disk.Policy{Shared: true}},
		"a limit":        {pruneOptions{maxUsedSpace: "10GB"}, disk.Policy{Limit: 10e9}},
		"its older name": {pruneOptions{keepStorage: "1GiB"}, disk.Policy{Limit: 1 << 30}},
		"unused":         {pruneOptions{filters: []string{"until=24h"}}, disk.Policy{Unused: now.Add(-24 * time.Hour)}},
		"the longer of two": {pruneOptions{filters: []string{"until=24h", "until=48h", "until=1h"}},
			disk.Policy{Unused: now.Add(-48 * time.Hour)}},
		"kinds": {pruneOptions{types: []string{"mounts", "sources"}},
			disk.Policy{Kinds: []disk.Kind{disk.Mounts, disk.Sources}}},
	} {
		got, err := tt.o.policy(now)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

// contextDir is a context with these files.
func contextDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
