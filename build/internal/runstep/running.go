package runstep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/top"
)

// RunDir gives the directory in which the builds of a user, named by host ID, record their running steps. It is the
// same for all stores of the user.
func RunDir(uid uint32) (string, error) {
	const systemDir = "/run/cooper"
	if uid == 0 && store.CanMake(systemDir) { // root of some containers can't
		return systemDir, nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "cooper"), nil
	}
	at, err := store.Locate(store.Options{})
	if err != nil {
		return "", err
	}
	return filepath.Join(at.RunRoot, "cooper"), nil
}

// running records the running steps of this build, for cooper top. If that fails, the build goes on without.
type running struct {
	id    string
	notes func() (top.Register, error)
	warn  func(err error)
}

func newRunning(owner uint32, to progress.Sink) running {
	return running{
		id: top.NewBuildID(),
		notes: sync.OnceValues(func() (top.Register, error) {
			dir, err := RunDir(owner)
			if err != nil {
				return top.Register{}, err
			}
			return top.OpenRegister(dir)
		}),
		warn: func() func(error) {
			var once sync.Once
			return func(err error) {
				once.Do(func() {
					to.Emit(progress.Note{Text: fmt.Sprintf("cooper top doesn't show this build: %v", err)})
				})
			}
		}(),
	}
}

// note gives two functions: started is called with the process ID of the step's first process, ended when the step has
// ended.
func (r *Room) note(s *plan.Step, user string) (started func(pid int), ended func()) {
	remove := func() error { return nil }
	ended = func() {
		if err := remove(); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.running.warn(err)
		}
	}

	started = func(pid int) {
		ended() // removes the record of a first attempt, if there is one
		notes, err := r.running.notes()
		if err == nil {
			var done func() error
			done, err = notes.Add(top.Step{
				Build: r.running.id, Tags: r.Tags, Number: strings.Trim(r.StepName(s), "[]"), Instruction: plan.FirstLine(s.Text),
				User: user,
				PID:  pid, Below: r.Run.Runtime != nil, Started: time.Now(),
			})
			if err == nil {
				remove = done
			}
		}
		if err != nil {
			r.running.warn(err)
		}
	}

	return started, ended
}
