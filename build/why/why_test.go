package why

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/account"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
)

// recipe makes one of lines NAME VALUE ...
func recipe(lines ...string) *cache.Recipe {
	r := &cache.Recipe{}
	for _, line := range lines {
		words := strings.Fields(line)
		r.Parts = append(r.Parts, cache.Part{Name: words[0], Values: words[1:]})
	}
	return r
}

func TestTheFirstThingThatDiffersIsNamed(t *testing.T) {
	const file, changed = "f 644 0:0 010101010101  a\n", "f 600 0:0 010101010101  a\n"
	listed := func(of, list string, parts ...string) *cache.Recipe {
		r := recipe(parts...)
		r.Files = map[string]string{of: list}
		return r
	}
	row := Row{Below: "[2/5] COPY . /src"}
	base := Row{Below: "FROM alpine", Base: true}
	for name, c := range map[string]struct {
		row      Row
		old, now *cache.Recipe
		want     string
	}{
		"command": {row, recipe("args /bin/sh -c make"), recipe("args /bin/sh -c make all"),
			"the command has changed: it is make all, and was make"},
		"long":     {row, recipe("args make"), recipe("args " + strings.Repeat("x", 99)), "the command has changed"},
		"variable": {row, recipe("env A=1 B=2"), recipe("env A=1 B=3"), "the variable or argument B has another value"},
		"new one":  {row, recipe("env A=1"), recipe("env A=1 C=3"), "the variable or argument C is new"},
		"one less": {row, recipe("env A=1 B=2"), recipe("env A=1"), "the variable or argument B is gone"},
		"order":    {row, recipe("env A=1 B=2"), recipe("env B=2 A=1"), "the order of the variables has changed"},
		"user":     {row, recipe("user"), recipe("user 7"), "the user is new: 7"},
		"no user":  {row, recipe("user 7"), recipe("user"), "the user is gone: it was 7"},
		"mount":    {row, recipe("args x"), recipe("args x", "mount cache /c"), "--mount is new: cache /c"},
		"below": {row, recipe("below a"), recipe("below b"),
			"what is below it has changed: [2/5] COPY . /src gave something else"},
		"base":       {base, recipe("below a"), recipe("below b"), "the base image alpine has other files"},
		"shape only": {row, recipe("user 7", "below a"), recipe("user 8"), "the user has changed: it is 8, and was 7"},
		"file": {row, listed("", file, "content a"), listed("", changed, "content b"),
			"the mode of a is 0600, and was 0644"},
		"of a stage": {row, listed("stage made", file, "content a"), listed("stage made", changed, "content b"),
			"the mode of a of stage made is 0600, and was 0644"},
		"mounted": {row, listed("context x at /m", file, "bind 1"), listed("context x at /m", changed, "bind 2"),
			"the mode of a of context x is 0600, and was 0644"},
		"unlisted":     {row, recipe("content a"), recipe("content b"), "what it takes has changed"},
		"unknown part": {row, recipe("future a"), recipe("future b"), "future has changed: it is b, and was a"},
	} {
		if got := c.row.compare(c.old, c.now).Text; got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
	shown := func(id string) *cache.Recipe {
		r := recipe("args x")
		r.Parts = append(r.Parts, cache.Part{Name: "shown", Values: []string{"stage made at /m", id}})
		return r
	}
	if got := row.compare(shown("1"), shown("2")).Text; got != "what the mount at /m shows of stage made has changed" {
		t.Error(got)
	}
	if got := row.compare(recipe("fetched http://x 1"),
		recipe("fetched http://x 2")).Text; got != "what is at http://x has changed" {
		t.Error(got)
	}
}

func TestTheNearestStepIsTheOneThatDiffersLeast(t *testing.T) {
	earlier := []Row{
		{Word: "RUN", Text: "RUN a", Stage: "0", Number: 2, Shape: "s1", Key: "k1"},
		{Word: "RUN", Text: "RUN b", Stage: "0", Number: 3, Shape: "s2", Key: "k2"},
		{Word: "COPY", Text: "COPY a", Stage: "0", Number: 4, Shape: "s3", Key: "k3"},
		{Word: "RUN", Text: "RUN b", Stage: "1", Number: 3, Shape: "s2", Key: "k4"},
		{Word: "RUN", Text: "RUN c", Stage: "9", Number: 9, Key: ""},
	}
	for name, c := range map[string]struct {
		row  Row
		want cache.Key
	}{
		"the same":                {Row{Word: "RUN", Text: "RUN b", Stage: "0", Number: 3, Shape: "s2"}, "k2"},
		"the same somewhere else": {Row{Word: "RUN", Text: "RUN b", Stage: "5", Number: 8, Shape: "s2"}, "k2"},
		"another environment":     {Row{Word: "RUN", Text: "RUN a", Stage: "0", Number: 7, Shape: "new"}, "k1"},
		"another command":         {Row{Word: "RUN", Text: "RUN new", Stage: "0", Number: 3, Shape: "new"}, "k2"},
		"another instruction":     {Row{Word: "WORKDIR", Text: "WORKDIR /", Stage: "0", Number: 3, Shape: "new"}, ""},
		"another platform": {Row{Word: "RUN", Text: "RUN a", Stage: "0", Number: 2, Shape: "s1",
			Platforms: "linux/arm64"}, ""},
		"nothing like it": {Row{Word: "RUN", Text: "RUN z", Stage: "7", Number: 7, Shape: "new"}, ""},
	} {
		var got cache.Key
		if near := c.row.nearest(earlier); near != nil {
			got = near.Key
		}
		if got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

func TestStepsAreChosenByWords(t *testing.T) {
	row := Row{Step: "[made 2/5]", Text: "RUN make all"}
	for words, want := range map[string]bool{"": true, "3": true, "2/5": true, "made": true, "made 2/5": true,
		"[made 2/5]": true,
		"RUN make":   true, "4": false, "make": false, "2": false} {
		if row.matches(words, 3) != want {
			t.Errorf("%q chooses it: %v", words, !want)
		}
	}
}

// builds are those of one project, one after the other.
type builds struct {
	*testing.T
	cache   *cache.Cache
	project Project
}

// build has a step missed or hit, and gives the reason that would be shown.
func (b builds) build(do func(r *Room, s *plan.Step)) Row {
	b.Helper()
	stage := &plan.Stage{Name: "0"}
	step := &plan.Step{Text: "RUN x", Stage: stage, Number: 1}
	r := New(Options{Project: b.project, Cache: b.cache, Progress: progress.Discard{},
		Name: func(*plan.Step) string { return "[1/1]" }})
	do(r, step)
	r.Save(b.Context(), &plan.Graph{Steps: []*plan.Step{step}}, false)
	last, found := latest(b.cache, Question{Project: Project{Dir: b.project.Dir}})
	if !found || len(last.Rows) != 1 {
		b.Fatalf("what was kept is %+v", last)
	}
	return last.Rows[0]
}

func TestABuildIsComparedWithTheOnesBefore(t *testing.T) {
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := builds{t, c, ProjectOf("/ctx", "", "")}
	key := func(name string) cache.Key { return cache.NewKey(name).Key() }
	run := func(name string, cause account.Cause, fails bool) func(r *Room, s *plan.Step) {
		return func(r *Room, s *plan.Step) {
			r.Missed(context.Background(), s, account.Miss{Cause: cause, Shape: key("shape")})
			if !fails {
				r.Recorded(s, key(name))
			}
		}
	}
	reason := func(row Row) string {
		return row.miss(c, row.Key, func() (old, now *cache.Recipe, from string) {
			now, _ = c.Recipe(row.Key)
			old, from = row.old(c)
			return old, now, from
		}).Text
	}
	put := func(name string, parts ...string) {
		if err := c.Put(key(name), cache.Record{Created: time.Now(), Recipe: recipe(parts...)}); err != nil {
			t.Fatal(err)
		}
	}
	put("one", "user 1")
	if got := reason(b.build(run("one", account.NewShape, false))); got != "no step like it has run before" {
		t.Error(got)
	}
	put("two", "user 2")
	if got := reason(b.build(run("two", account.NoRecord, false))); got != "the user has changed: it is 2, and was 1" {
		t.Error(got)
	}
	hit := b.build(func(r *Room, s *plan.Step) {
		r.Hit(s, account.Hit{Shape: key("shape"), Key: key("one"),
			Record: cache.Record{Created: time.Now(), Took: time.Second,
				From: "registry"}})
	})
	if got := hit.hit(time.Now()); got.Text != "from registry, made less than a second ago, saves 1s" ||
		got.SavedSeconds != 1 {
		t.Errorf("%+v", got)
	}
	if got := reason(b.build(run("two", account.NoCache, false))); got != "--no-cache has every step run" {
		t.Error(got)
	}
	b.build(run("", account.NoRecord, true))
	put("three", "user 3")
	if got := reason(b.build(run("three", account.NoRecord,
		false))); got != "it failed or was stopped in an earlier build" {
		t.Error(got)
	}
	if err := c.NoteEvictions([]string{"steps/" + string(key("three")[:2]) + "/" + string(key("three")[2:])},
		"cooper prune"); err != nil {
		t.Fatal(err)
	}
	if got := reason(b.build(run("three", account.NewShape,
		false))); got != "its result was removed less than a second ago by cooper prune" {
		t.Error(got)
	}
	if row := b.build(run("four", account.LayerLost,
		false)); reason(row) != "its layer was removed from the store by another program" {
		t.Error(reason(row))
	}
}

func TestAnArchiveFromStandardInputIsNoProject(t *testing.T) {
	if p := ProjectOf("-", "", ""); p.Dir != "" {
		t.Errorf("%+v", p)
	}
	if p := ProjectOf("https://example.com/x.git", "-", "t"); p.Dir != "https://example.com/x.git" || p.Dockerfile != "-" {
		t.Errorf("%+v", p)
	}
}
