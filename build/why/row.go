package why

import (
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/account"
)

// Row is a step of a build.
type Row struct {
	// Step is its place, as in "[builder 2/5]"; Text the instruction.
	Step string `json:"step,omitempty"`
	Text string `json:"text"`
	// Stage and Number say where it is, the word is the instruction's.
	Stage  string `json:"stage,omitempty"`
	Number int    `json:"number"`
	Word   string `json:"word"`
	// Platforms is what the step is for in a build for several platforms.
	Platforms string `json:"platforms,omitempty"`
	// Shape and Key are what its record is found by; the key is empty if there is no record.
	Shape cache.Key `json:"shape,omitempty"`
	Key   cache.Key `json:"key,omitempty"`
	// Below is the step that it stands on; Base tells that this is a base image.
	Below string `json:"below,omitempty"`
	Base  bool   `json:"base,omitempty"`
	// Cached tells that it need not run. Cause says why it had to.
	Cached bool          `json:"cached,omitempty"`
	Cause  account.Cause `json:"cause,omitempty"`
	// From, Made and Took are those of the record that spared it, or of the one that could not be used.
	From string        `json:"from,omitempty"`
	Made time.Time     `json:"made,omitzero"`
	Took time.Duration `json:"took,omitempty"`
	// Layer is that of a record that could not be used.
	Layer string `json:"layer,omitempty"`
	// Near is the key of the nearest earlier step; NearFailed tells that it has no record, since it failed.
	Near       cache.Key `json:"near,omitempty"`
	NearFailed bool      `json:"nearFailed,omitempty"`
	// Unkept is what it was made of, if it has no record.
	Unkept *cache.Recipe `json:"unkept,omitempty"`
	// Elsewhere is what the nearest step in a shared cache was made of, if this store knows none; ElsewhereIn that cache.
	Elsewhere   *cache.Recipe `json:"elsewhere,omitempty"`
	ElsewhereIn string        `json:"elsewhereIn,omitempty"`
}

// old is what the nearest earlier step was made of, and the shared cache that knows it; nil: nobody does.
func (row Row) old(c *cache.Cache) (*cache.Recipe, string) {
	if row.Near == "" {
		return row.Elsewhere, row.ElsewhereIn
	}
	r, err := c.Recipe(row.Near)
	if err != nil {
		return nil, "" // it is not kept any more
	}
	return r, ""
}

// build is what is kept of a project's last build.
type build struct {
	Project
	When   time.Time `json:"when"`
	Failed bool      `json:"failed,omitempty"`
	Rows   []Row     `json:"rows"`
}

// The weights of what makes an earlier step near to another one.
const (
	sameShape  = 8
	sameText   = 6
	sameStage  = 3
	sameNumber = 2
)

// nearest gives the earlier step that is nearest to this one: one that differs in its inputs only, or else in the
// instruction. Of equally near ones it is the first. Nil: none is.
func (row Row) nearest(earlier []Row) (best *Row) {
	most := 0
	for i, e := range earlier {
		if weight := row.weigh(e); weight > most && weight >= sameStage {
			best, most = &earlier[i], weight
		}
	}
	return best
}

// weigh says how near an earlier step is; 0: it isn't.
func (row Row) weigh(e Row) (weight int) {
	if e.Word != row.Word || e.Platforms != row.Platforms || e.Key == "" && e.Shape == "" {
		return 0
	}
	for _, c := range []struct {
		same   bool
		weight int
	}{
		{e.Shape == row.Shape && row.Shape != "", sameShape}, {e.Text == row.Text, sameText},
		{e.Stage == row.Stage, sameStage}, {e.Number == row.Number, sameNumber},
	} {
		if c.same {
			weight += c.weight
		}
	}
	return weight
}
