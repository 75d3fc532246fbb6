package reclaim_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/build/reclaim"
)

// build is one that runs under a limit of a mebibyte.
type build struct {
	t     *testing.T
	d     *depot.Depot
	space *reclaim.Space
	said  *notes
	end   func() error
}

func begin(t *testing.T, d *depot.Depot) *build {
	t.Helper()
	return beginWith(t, d, limit(1<<20), reclaim.Share{})
}

func beginWith(t *testing.T, d *depot.Depot, most reclaim.Limit, share reclaim.Share) *build {
	t.Helper()
	b := &build{t: t, d: d, said: &notes{}}
	var err error
	if b.end, err = d.Removal.BeginBuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.space, err = reclaim.Watch(t.Context(), d, most, share, b.said); err != nil {
		t.Fatal(err)
	}
	return b
}

// step begins a step that has written a file of a size in bytes.
func (b *build) step(size int) (guarded context.Context, release func()) {
	b.t.Helper()
	dir, remove, err := b.d.Store.Parts().Scratch.Tree(b.t.Context(), "dir")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "f"), make([]byte, size), 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	guarded, done := b.space.Guard(b.t.Context(), dir)
	b.space.Check()
	return guarded, func() {
		done()
		if err := remove(); err != nil {
			b.t.Error(err)
		}
	}
}

func (b *build) settle() {
	b.t.Helper()
	b.space.Settle(b.t.Context())
	if err := b.end(); err != nil {
		b.t.Error(err)
	}
}

// full is the error that has ended what is guarded, nil if it goes on.
func full(guarded context.Context) *reclaim.FullError {
	err := new(reclaim.FullError)
	if errors.As(reclaim.Full(guarded, errors.New("interrupted")), &err) {
		return err
	}
	return nil
}

func TestTheStepEndsThatHasWrittenMostWhenThereIsNoMoreSpace(t *testing.T) {
	t.Parallel()
	b := begin(t, open(t))
	small, releaseSmall := b.step(1000)
	large, releaseLarge := b.step(3 << 20)
	<-large.Done()
	err := full(large)
	if err == nil || err.Written < 3<<20 || err.Needed < err.Written ||
		!strings.Contains(err.Error(), "more than the 1.049MB of --max-used-space") ||
		!strings.Contains(err.Error(), "\nhint: raise --max-used-space") {
		t.Errorf("it ends with %v", context.Cause(large))
	}
	if small.Err() != nil {
		t.Error("the other step ends, too")
	}
	releaseLarge()
	releaseSmall()
	b.settle()
	if len(b.said.texts) > 0 {
		t.Errorf("it says %q", b.said.texts)
	}
}

// TestOfTwoBuildsUnderOneLimitOneEnds if both have written more than there is, and the other goes on.
func TestOfTwoBuildsUnderOneLimitOneEnds(t *testing.T) {
	t.Parallel()
	d := open(t)
	builds := []*build{begin(t, d), begin(t, d)}
	one, releaseOne := builds[0].step(600_000)
	two, releaseTwo := builds[1].step(600_000)
	first, second := 0, two
	select {
	case <-one.Done():
	case <-two.Done():
		first, second = 1, one
		releaseOne, releaseTwo = releaseTwo, releaseOne
	}
	releaseOne()
	builds[first].settle()
	builds[1-first].space.Check()
	layer(t, d, "", 100) // something that takes time
	if second.Err() != nil {
		t.Errorf("both end: %v", context.Cause(second))
	}
	releaseTwo()
	builds[1-first].settle()
}

func TestWhatNobodyUsesGoesBeforeABuildEnds(t *testing.T) {
	t.Parallel()
	d := open(t)
	old := layer(t, d, "", 3<<20)
	b := begin(t, d)
	guarded, release := b.step(500_000)
	for d.Store.HasLayer(old.ID) && guarded.Err() == nil {
		b.space.Check()
	}
	if guarded.Err() != nil {
		t.Errorf("the step ends: %v", context.Cause(guarded))
	}
	release()
	b.settle()
}

// TestABuildThatHasWrittenNothingGoesOn whatever there is that others use.
func TestABuildThatHasWrittenNothingGoesOn(t *testing.T) {
	t.Parallel()
	d := open(t)
	other := begin(t, d)
	b := begin(t, d)
	cached, done := b.space.Guard(t.Context(), "")
	writing, release := other.step(3 << 20)
	<-writing.Done()
	if cached.Err() != nil {
		t.Errorf("it ends: %v", context.Cause(cached))
	}
	release()
	done()
	other.settle()
	b.settle()
}

// TestAllThatIsUnfinishedCounts has each kind of what a build writes exceed the limit.
func TestAllThatIsUnfinishedCounts(t *testing.T) {
	t.Parallel()
	much := make([]byte, 3<<20)
	for name, write := range map[string]func(d *depot.Depot) (remove func() error, err error){
		"a file without a name": func(d *depot.Depot) (func() error, error) {
			f, err := d.Store.Parts().Scratch.File()
			if err != nil {
				return nil, err
			}
			_, err = f.Write(much)
			return f.Close, err
		},
		"a fetch": func(d *depot.Depot) (func() error, error) {
			dir := filepath.Join(d.Store.Paths().Remote(), "tmp", "x")
			err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "f"), much, 0o600))
			return func() error { return os.RemoveAll(dir) }, err
		},
		"a layer of the driver": func(d *depot.Depot) (func() error, error) {
			dir := filepath.Join(d.Store.Paths().Root, d.Store.Driver(), "abc")
			if d.Store.Driver() == "vfs" {
				dir = filepath.Join(d.Store.Paths().Root, "vfs", "dir", "abc")
			}
			done, err := d.Store.Parts().Scratch.ForLayer(context.Background(), "abc")
			if err != nil {
				return nil, err
			}
			err = errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "f"), much, 0o600))
			return func() error { return errors.Join(done(), os.RemoveAll(dir)) }, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			b := begin(t, d)
			guarded, done := b.space.Guard(t.Context(), "")
			remove, err := write(d)
			if err != nil {
				t.Fatal(err)
			}
			b.space.Check()
			<-guarded.Done()
			if full(guarded) == nil {
				t.Errorf("it ends with %v", context.Cause(guarded))
			}
			if err := remove(); err != nil {
				t.Error(err)
			}
			done()
			b.settle()
		})
	}
}

// TestWhatIsBeingRemovedIsNotBeingWritten: it was counted as what it was.
func TestWhatIsBeingRemovedIsNotBeingWritten(t *testing.T) {
	t.Parallel()
	d := open(t)
	dir, remove, err := d.Store.Parts().Scratch.Dir(t.Context())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, scratch.Gone), make([]byte, 3<<20), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	old := layer(t, d, "", 2<<20)
	b := begin(t, d)
	guarded, release := b.step(1000)
	for d.Store.HasLayer(old.ID) && guarded.Err() == nil {
		b.space.Check()
	}
	if guarded.Err() != nil {
		t.Errorf("the step ends: %v", context.Cause(guarded))
	}
	release()
	b.settle()
	if err := remove(); err != nil {
		t.Error(err)
	}
}

// TestTheShareOfAProjectCountsWhatItsBuildsHaveMade and removes nothing of others.
func TestTheShareOfAProjectCountsWhatItsBuildsHaveMade(t *testing.T) {
	t.Parallel()
	d := open(t)
	share := reclaim.Share{Limit: reclaim.Limit{Bytes: 1 << 20, By: "disk.projects./p in file"}, Project: "/p"}
	of := map[string]string{}
	for n, project := range []string{"/q", "/p/a", "/p"} {
		id := layer(t, d, "", 700_000+n).ID
		of[project] = id
		if err := d.Store.Parts().Uses.WhileDeciding(t.Context(), func() error {
			return d.Store.Parts().Uses.Save(uses.Thing{Kind: uses.Layers, Name: id},
				func(e *uses.Entry) { e.Project = project })
		}); err != nil {
			t.Fatal(err)
		}
	}
	watch := func() *build {
		return beginWith(t, d, limit(0), share)
	}
	b := watch()
	guarded, release := b.step(1000)
	for d.Store.HasLayer(of["/p/a"]) && guarded.Err() == nil {
		b.space.Check()
	}
	release()
	b.settle()
	if guarded.Err() == nil && len(b.said.texts) > 0 || !d.Store.HasLayer(of["/p"]) || !d.Store.HasLayer(of["/q"]) {
		t.Errorf("of the project's last layer and another's there are %v and %v; it says %q", d.Store.HasLayer(of["/p"]),
			d.Store.HasLayer(of["/q"]), b.said.texts)
	}
	b = watch()
	guarded, release = b.step(3 << 20)
	<-guarded.Done()
	if err := full(guarded); err == nil ||
		!strings.Contains(err.Error(), "more than the 1.049MB of disk.projects./p in file") {
		t.Errorf("it ends with %v", context.Cause(guarded))
	}
	release()
	b.settle()
	if !d.Store.HasLayer(of["/q"]) {
		t.Error("another project's layer is gone")
	}
	u := measure(t, d)
	if len(u.Projects) == 0 || u.Projects[0].Project != "/p" && u.Projects[0].Project != "/q" ||
		u.Projects[0].Bytes < 700_000 {
		t.Errorf("of projects it shows %+v", u.Projects)
	}
}
