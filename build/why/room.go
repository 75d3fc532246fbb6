package why

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/account"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
)

// maxEarlier is how many steps are kept that only builds before the last had.
const maxEarlier = 500

// Options say what is told of which build.
type Options struct {
	Project
	Cache *cache.Cache
	// Name gives the place of a step, as in "[builder 2/5]".
	Name func(*plan.Step) string
	// Progress gets an explanation for each step if Explain is set.
	Progress progress.Sink
	Explain  bool
	// Tell is set if Steps is going to be called.
	Tell bool
	// Shared has what other machines know of steps; nil: nothing.
	Shared Shared
}

// Shared is what caches that other machines fill know of steps.
type Shared interface {
	// Near gives the recipe of the step of a shape that was met last there, or else of one at the same place; nil: there
	// is none. From names the cache.
	Near(ctx context.Context, shape cache.Key, text string) (r *cache.Recipe, from string)
}

// Room keeps what becomes of the steps of one build. It is safe for concurrent use.
type Room struct {
	Options

	mu   sync.Mutex
	rows map[*plan.Step]*Row
	// made gives what the steps that run are made of.
	made map[*plan.Step]func(ctx context.Context) (*cache.Recipe, error)
	ran  bool
	// reasons are what Steps tells; explain fills it.
	reasons map[*plan.Step]Reason
	// before gives the steps of earlier builds, the latest first; it reads them once.
	before func() []Row
}

var _ account.Teller = (*Room)(nil)

// New makes the room of a build.
func New(o Options) *Room {
	r := &Room{Options: o, rows: map[*plan.Step]*Row{},
		made:    map[*plan.Step]func(context.Context) (*cache.Recipe, error){},
		reasons: map[*plan.Step]Reason{}}
	r.before = sync.OnceValue(r.readEarlier)
	return r
}

// Project tells builds apart.
type Project struct {
	// Dir is the context, as an absolute path; empty: nothing is kept of the build. Dockerfile and Target tell the builds
	// of one context apart; they may be empty.
	Dir        string `json:"dir"`
	Dockerfile string `json:"dockerfile,omitempty"`
	Target     string `json:"target,omitempty"`
}

// ProjectOf is the project of a context, a Dockerfile and a target as the user writes them.
func ProjectOf(context, dockerfile, target string) Project {
	if context == "-" {
		return Project{}
	}
	return Project{absolute(context), absolute(dockerfile), target}
}

// absolute makes a path of this machine absolute. URLs and names of standard input stay.
func absolute(path string) string {
	if path == "" || path == "-" || strings.Contains(path, "://") {
		return path
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (p Project) key() cache.Key { return cache.ProjectKey(p.Dir, p.Dockerfile+"\x00"+p.Target) }

// readEarlier gives the steps of earlier builds of the project.
func (r *Room) readEarlier() []Row {
	if r.Dir == "" {
		return nil
	}
	var old build
	var more []Row
	last, earlier := r.Cache.Build(r.key())
	// What can't be read is of a build that nobody knows.
	_ = json.Unmarshal(last, &old)
	_ = json.Unmarshal(earlier, &more)
	return append(old.Rows, more...)
}

// Hit is that of [account.Teller].
func (r *Room) Hit(s *plan.Step, h account.Hit) {
	row := r.row(s)
	row.Shape, row.Key, row.Cached = h.Shape, h.Key, true
	row.From, row.Made, row.Took = h.Record.From, h.Record.Created, h.Record.Took
	r.keep(s, row)
	r.explain(s, func() Reason { return row.hit(time.Now()) })
}

// explain tells why a step ran, or need not run, to whoever wants to know it.
func (r *Room) explain(s *plan.Step, find func() Reason) {
	if !r.Explain && !r.Tell {
		return
	}
	reason := find()
	r.mu.Lock()
	r.reasons[s] = reason
	r.mu.Unlock()
	if r.Explain {
		r.Progress.Emit(progress.Explained{ID: s.ID, Text: reason.Text, Reason: reason})
	}
}

// Steps are the steps that were looked up so far, in the order of the plan, each with its reason. Only a Room with Tell
// or Explain has them.
func (r *Room) Steps(graph *plan.Graph) (all []Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range graph.Steps {
		if reason, ok := r.reasons[s]; ok {
			row := r.rows[s]
			all = append(all, Step{Step: row.Step, Text: row.Text, Cached: row.Cached, Kept: row.Key != "",
				Reason: reason})
		}
	}
	return all
}

// Missed is that of [account.Teller].
func (r *Room) Missed(ctx context.Context, s *plan.Step, m account.Miss) {
	row := r.row(s)
	row.Shape, row.Cause = m.Shape, m.Cause
	if m.Record != nil {
		row.From, row.Made, row.Took = m.Record.From, m.Record.Created, m.Record.Took
		if m.Record.Layer != nil {
			row.Layer = m.Record.Layer.ID
		}
	}
	r.mu.Lock()
	r.ran, r.made[s] = true, m.Recipe
	r.mu.Unlock()
	row.findNear(r)
	if row.Near == "" && !row.NearFailed && r.Shared != nil && m.Recipe != nil {
		row.Elsewhere, row.ElsewhereIn = r.Shared.Near(ctx, row.Shape, row.Text)
	}
	r.keep(s, row)
	r.explain(s, func() Reason { return row.miss(r.Cache, m.Key, row.recipes(ctx, r.Cache, m)) })
}

// recipes gives what the step and the nearest one were made of.
func (row Row) recipes(ctx context.Context, c *cache.Cache, m account.Miss) func() (old, now *cache.Recipe,
	from string) {
	return func() (old, now *cache.Recipe, from string) {
		if m.Recipe == nil {
			return nil, nil, ""
		}
		now, err := m.Recipe(ctx)
		if err != nil {
			return nil, nil, "" // the step itself shows the error
		}
		old, from = row.old(c)
		return old, now, from
	}
}

// Recorded is that of [account.Teller].
func (r *Room) Recorded(s *plan.Step, key cache.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row := r.rows[s]; row != nil {
		row.Key = key
	}
}

// row describes a step.
func (r *Room) row(s *plan.Step) Row {
	word, _, _ := strings.Cut(s.Text, " ")
	row := Row{Step: r.Name(s), Text: s.Text, Stage: s.Stage.Name, Number: s.Number, Word: word, Platforms: s.Platforms}
	if below := standsOn(s); below != nil {
		_, row.Base = below.Op.(*plan.Base)
		if row.Below = plan.FirstLine(below.Text); !row.Base {
			row.Below = strings.TrimSpace(r.Name(below) + " " + row.Below)
		}
	}
	return row
}

// standsOn is the step below that may have made files.
func standsOn(s *plan.Step) *plan.Step {
	for below := s.Parent; below != nil; below = below.Parent {
		if _, config := below.Op.(*plan.Config); !config {
			return below
		}
	}
	return nil
}

func (r *Room) keep(s *plan.Step, row Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows[s] = &row
}

// findNear finds the step of earlier builds that is nearest.
func (row *Row) findNear(r *Room) {
	if near := row.nearest(r.before()); near != nil {
		row.Near, row.NearFailed = near.Key, near.Key == ""
		return
	}
	row.Near = r.Cache.LastOf(row.Shape)
}

// savePatience is how long Save may take.
const savePatience = 5 * time.Second

// Save keeps for Last what became of the steps of a build, which failed, was interrupted, or did not. An error is a
// note: the image is none the worse for it.
func (r *Room) Save(ctx context.Context, graph *plan.Graph, failed bool) {
	if r.Dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	if err := r.save(ctx, graph, failed); err != nil {
		r.Progress.Emit(progress.Note{Text: fmt.Sprintf("cooper cache why won't know this build: %v", err)})
	}
}

func (r *Room) save(ctx context.Context, graph *plan.Graph, failed bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	this := build{Project: r.Project, When: time.Now().UTC(), Failed: failed}
	for _, s := range graph.Steps {
		if row := r.rows[s]; row != nil {
			if made := r.made[s]; made != nil && row.Key == "" {
				row.Unkept = withoutMany(made(ctx))
			}
			this.Rows = append(this.Rows, *row)
		}
	}
	last, err := json.Marshal(this)
	if err != nil {
		return fmt.Errorf("keep what became of the steps: %w", err)
	}
	var earlier []byte
	if r.ran {
		if earlier, err = json.Marshal(r.others(this.Rows)); err != nil {
			return fmt.Errorf("keep what became of the steps: %w", err)
		}
	}
	return r.Cache.PutBuild(r.key(), last, earlier)
}

// withoutMany is the recipe of a step that has no record, without the names of many files; nil: there is none.
func withoutMany(recipe *cache.Recipe, err error) *cache.Recipe {
	if err != nil || recipe == nil {
		return nil
	}
	const many = 64 << 10
	short := *recipe
	for _, list := range recipe.Files {
		if len(list) > many {
			short.Files = nil
		}
	}
	return &short
}

// others are the steps of earlier builds that the last one didn't have.
func (r *Room) others(rows []Row) []Row {
	has := map[cache.Key]bool{"": true}
	for _, row := range rows {
		has[row.Key] = true
	}
	left := slices.DeleteFunc(slices.Clone(r.before()), func(row Row) bool {
		had := has[row.Key]
		has[row.Key] = true
		return had
	})
	return left[:min(len(left), maxEarlier)]
}
