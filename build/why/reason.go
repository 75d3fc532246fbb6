package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/account"
	"github.com/cooperbuild/cooper/build/internal/source/filelist"
)

// A Reason says why a step ran, or need not run.
type Reason struct {
	// Kind is one of: cached, no-cache, no-cache-filter, too-old, evicted, never, failed, instruction, variable, below,
	// file, source, unknown.
	Kind string `json:"kind"`
	// Text is all of it as a clause for people.
	Text string `json:"text"`
	// Name says what differs: a variable, an option, the step below.
	Name string `json:"name,omitempty"`
	// File is the first file that differs, MoreFiles how many others do.
	File      *filelist.Change `json:"file,omitempty"`
	MoreFiles int              `json:"moreFiles,omitempty"`
	// From is the shared cache that the record, or the one that was compared, is in.
	From string `json:"from,omitempty"`
	// Made and SavedSeconds are when a record was made, and how long its step took.
	Made         *time.Time `json:"made,omitempty"`
	SavedSeconds float64    `json:"savedSeconds,omitempty"`
}

// hit says what spared a step.
func (row Row) hit(now time.Time) Reason {
	where := "made here"
	if row.From != "" {
		where = "from " + row.From + ", made"
	}
	made := row.Made
	return Reason{Kind: "cached", From: row.From, Made: &made, SavedSeconds: row.Took.Seconds(),
		Text: fmt.Sprintf("%s %s ago, saves %s", where, ago(now.Sub(made)), row.Took.Round(time.Millisecond))}
}

func ago(d time.Duration) string {
	return strings.ToLower(units.HumanDuration(max(d, 0)))
}

// miss says why a step ran; key is what it was looked up by, if that is known.
func (row Row) miss(c *cache.Cache, key cache.Key, recipes func() (old, now *cache.Recipe, from string)) Reason {
	switch row.Cause {
	case account.NoCache:
		return Reason{Kind: "no-cache", Text: "--no-cache has every step run"}
	case account.Fresh:
		return Reason{Kind: "no-cache-filter", Text: "--no-cache-filter has its stage run"}
	case account.TooOld:
		return Reason{Kind: "too-old", Made: &row.Made,
			Text: "its result, made " + ago(time.Since(row.Made)) + " ago, is older than --cache-ttl allows"}
	case account.LayerLost:
		return evicted(c.Evicted(row.Layer, key), "its layer was removed from the store by another program")
	}
	if key != "" {
		if e := c.Evicted("", key); e != nil {
			return evicted(e, "")
		}
	}
	old, now, from := recipes()
	switch {
	case row.NearFailed && old == nil:
		return Reason{Kind: "failed", Text: "it failed or was stopped in an earlier build"}
	case old == nil && row.Near != "":
		return evicted(c.Evicted("", row.Near), "what the nearest earlier step was made of is not kept any more")
	case old == nil:
		return Reason{Kind: "never", Text: "no step like it has run before"}
	case now == nil:
		return Reason{Kind: "unknown", Text: "it can't be told what it was made of"}
	}
	reason := row.compare(old, now)
	reason.From = from
	return reason
}

// evicted says what removed a result; otherwise stands for what isn't known.
func evicted(e *cache.Eviction, otherwise string) Reason {
	if e == nil {
		return Reason{Kind: "evicted", Text: otherwise}
	}
	return Reason{Kind: "evicted", Name: e.By, Made: &e.When,
		Text: fmt.Sprintf("its result was removed %s ago by %s", ago(time.Since(e.When)), e.By)}
}

// labels say what parts of keys are, for people.
func labels() map[string]string {
	return map[string]string{
		"args": "the command", "cwd": "the working directory", "user": "the user", "network": "whether there is a network",
		"platform": "the platform", "userns": "the ID map", "hosts": "--add-host", "shm": "--shm-size", "limits": "--ulimit",
		"caps": "--cap-add and --cap-drop", "security": "--security-opt", "volume": "-v",
		"insecure": "--security and --hostname",
		"mount":    "--mount", "file": "the text of a heredoc", "dest": "the destination", "chown": "--chown",
		"chmod":  "--chmod",
		"unpack": "what is unpacked", "sources": "the sources", "from": "what kind of thing --from names", "link": "--link",
		"parents": "--parents", "excludes": "--exclude", "remotes": "the sources", "path": "the path",
		"source date": "the date of SOURCE_DATE_EPOCH or --timestamp",
	}
}

// compare names the first thing that differs between two recipes.
func (row Row) compare(old, now *cache.Recipe) Reason {
	before, after := named(old), named(now)
	for _, name := range order(old, now) {
		a, b := before[name], after[name]
		if slices.EqualFunc(a, b, slices.Equal) {
			continue
		}
		switch name {
		case "env":
			return variable(slices.Concat(a...), slices.Concat(b...))
		case "below":
			if len(a) == 0 || len(b) == 0 { // one of them is a shape
				continue
			}
			return row.below()
		case "fetched", "shown":
			if reason, ok := content(name, a, b, old, now); ok {
				return reason
			}
			continue
		case "content", "stage", "bind": // the files, or what stands for them in the notes, say more
			continue
		}
		return Reason{Kind: "instruction", Name: name, Text: cmp.Or(labels()[name], name) + changed(a, b)}
	}
	if reason, ok := filesOf("", old, now); ok {
		return reason
	}
	return Reason{Kind: "unknown", Text: "what it takes has changed"}
}

// below says that what a step stands on has changed.
func (row Row) below() Reason {
	if row.Base {
		name := strings.TrimPrefix(row.Below, "FROM ")
		return Reason{Kind: "below", Name: row.Below, Text: "the base image " + name + " has other files"}
	}
	return Reason{Kind: "below", Name: row.Below, Text: "what is below it has changed: " + row.Below +
		" gave something else"}
}

// named are the parts of a recipe by their names.
func named(r *cache.Recipe) map[string][][]string {
	all := map[string][][]string{}
	for _, p := range r.Parts {
		all[p.Name] = append(all[p.Name], p.Values)
	}
	return all
}

// order gives the names of the parts of two recipes, each once: the later one's, and what only the earlier one has.
func order(old, now *cache.Recipe) (names []string) {
	for _, p := range slices.Concat(now.Parts, old.Parts) {
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// changed says how short values differ.
func changed(a, b [][]string) string {
	const short = 60
	old, now := valueText(a), valueText(b)
	switch {
	case len(old) > short || len(now) > short, old == now:
		return " has changed"
	case old == "":
		return " is new: " + now
	case now == "":
		return " is gone: it was " + old
	}
	return " has changed: it is " + now + ", and was " + old
}

func valueText(values [][]string) string {
	var words []string
	for _, v := range values {
		if all := strings.TrimSpace(strings.Join(v, " ")); all != "" {
			words = append(words, all)
		}
	}
	return strings.TrimPrefix(strings.Join(words, "; "), "/bin/sh -c ")
}

// variable names the first variable or argument that differs. Nobody has its values.
func variable(old, now []string) Reason {
	sums := func(list []string) map[string]string {
		all := map[string]string{}
		for _, v := range list {
			name, sum, _ := strings.Cut(v, "=")
			all[name] = sum
		}
		return all
	}
	before, after := sums(old), sums(now)
	for _, v := range slices.Concat(now, old) {
		name, _, _ := strings.Cut(v, "=")
		a, had := before[name]
		b, has := after[name]
		var what string
		switch {
		case !had:
			what = " is new"
		case !has:
			what = " is gone"
		case a != b:
			what = " has another value"
		default:
			continue
		}
		return Reason{Kind: "variable", Name: name, Text: "the variable or argument " + name + what}
	}
	return Reason{Kind: "variable", Text: "the order of the variables has changed"}
}

// content says which of the things differs that a step shows or fetches.
func content(part string, old, now [][]string, a, b *cache.Recipe) (Reason, bool) {
	for _, v := range now {
		if len(v) != 2 || slices.ContainsFunc(old, func(o []string) bool { return slices.Equal(o, v) }) {
			continue
		}
		if part == "fetched" {
			return Reason{Kind: "source", Name: v[0], Text: "what is at " + v[0] + " has changed"}, true
		}
		if reason, ok := filesOf(v[0], a, b); ok {
			return reason, true
		}
		name, target, _ := strings.Cut(v[0], " at ")
		return Reason{Kind: "source", Name: name, Text: "what the mount at " + target + " shows of " + cmp.Or(name,
			"the context") + " has changed"}, true
	}
	return Reason{}, false
}

// filesOf compares the listings of a name; the empty one stands for all.
func filesOf(name string, old, now *cache.Recipe) (Reason, bool) {
	for of, list := range now.Files {
		if name != "" && of != name {
			continue
		}
		before, listed := old.Files[of]
		if !listed {
			continue
		}
		if first, count := filelist.Compare(before, list); first != nil {
			where, _, _ := strings.Cut(of, " at ")
			return files(*first, count-1, where), true
		}
	}
	return Reason{}, false
}

// files says how a file differs, and how many others do.
func files(c filelist.Change, more int, where string) Reason {
	path := c.Path
	if where = strings.TrimSpace(where); where != "" {
		path += " of " + where
	}
	text := path + " has changed"
	switch c.What {
	case filelist.Added:
		text = path + " is new"
	case filelist.Removed:
		text = path + " is gone"
	case filelist.Renamed:
		text = path + " is named " + c.New + " now"
	case filelist.Content:
		text = fmt.Sprintf("%s has changed (%s, was %s)", path, c.New, c.Old)
	case filelist.Target:
		text = path + " is a link to something else"
	case filelist.Mode, filelist.Owner:
		text = fmt.Sprintf("the %s of %s is %s, and was %s", c.What, path, c.New, c.Old)
	case filelist.Attributes:
		text = "the extended attributes of " + path + " have changed"
	case filelist.Kind:
		text = fmt.Sprintf("%s is a %s, and was a %s", path, c.New, c.Old)
	case filelist.Below:
		text = "something in " + path + " has changed"
	}
	switch {
	case more == 1:
		text += ", and one file more differs"
	case more > 1:
		text += fmt.Sprintf(", and %d files more differ", more)
	}
	return Reason{Kind: "file", Name: c.Path, Text: text, File: &c, MoreFiles: more}
}
