package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/session"
)

// Report says what differs between two images, the one and the other.
type Report struct {
	// IDs are those of the images; equal ones have equal images.
	IDs [2]string `json:"ids"`
	// Config are the fields of the configs that differ, History the steps, Layers the layers, Files the files.
	Config  []Field `json:"config"`
	History []Field `json:"history"`
	Layers  []Layer `json:"layers"`
	Files   []File  `json:"files"`
}

// Field is something that has two values; nil: an image lacks it.
type Field struct {
	Name   string `json:"name"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Layer is a layer that differs, with the steps that made it.
type Layer struct {
	// Number counts from 1 at the bottom.
	Number int              `json:"number"`
	Digest [2]digest.Digest `json:"digests"`
	Step   [2]string        `json:"steps"`
}

// File is a file that differs.
type File struct {
	Path string `json:"path"`
	// Change is added, removed or changed, and What has the properties that did change.
	Change string   `json:"change"`
	What   []string `json:"what,omitempty"`
	// Step is the step that the file is of, in the image that has it.
	Step string `json:"step"`
}

// Equal tells whether nothing differs.
func (r Report) Equal() bool { return r.IDs[0] == r.IDs[1] }

// Images compares two images of the session's store.
func Images(ctx context.Context, s *session.Session, one, other string) (r Report, err error) {
	d, err := s.Existing(ctx)
	if err != nil {
		return r, err
	}
	if d == nil {
		return r, fmt.Errorf("%s: %w", one, images.ErrNoImage)
	}
	defer func() { err = s.Explain(err) }()
	end, err := d.Removal.BeginBuild(ctx) // until end is called, nothing of the images is removed
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var both [2]images.Found
	for i, name := range []string{one, other} {
		if both[i], err = d.Images.FindFor(ctx, name, platforms.DefaultSpec()); err != nil {
			return r, err
		}
		r.IDs[i] = both[i].ID
	}
	if r.Config, r.History, err = configs(both); err != nil || r.Equal() {
		return r, err
	}
	r.Layers = layers(both)
	if len(r.Layers) == 0 {
		return r, nil
	}
	r.Files, err = files(ctx, d.Store, both)
	return r, err
}

// configs compares the configs' fields, those of config one by one, and the histories.
func configs(both [2]images.Found) (fields, history []Field, err error) {
	var flat, steps [2]map[string]any
	for i, img := range both {
		var whole map[string]any
		if err := json.Unmarshal(img.Config, &whole); err != nil {
			return nil, nil, fmt.Errorf("read image %s: config: %w", img.Name, err)
		}
		delete(whole, "rootfs")
		delete(whole, "history")
		flat[i], steps[i] = map[string]any{}, map[string]any{}
		inner, _ := whole["config"].(map[string]any)
		delete(whole, "config")
		maps.Copy(flat[i], whole)
		for key, value := range inner {
			flat[i]["config."+key] = value
		}
		for n, h := range img.Image.History {
			steps[i][fmt.Sprintf("step %03d", n+1)] = h.CreatedBy
		}
	}
	return fieldsOf(flat), fieldsOf(steps), nil
}

func fieldsOf(both [2]map[string]any) (all []Field) {
	names := map[string]bool{}
	for _, m := range both {
		for name := range m {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a, b := both[0][name], both[1][name]; !reflect.DeepEqual(a, b) {
			all = append(all, Field{name, a, b})
		}
	}
	return all
}

// stepsOf are the steps that made an image's layers.
func stepsOf(img images.Found) []string {
	steps := make([]string, len(img.Layers))
	n := 0
	for _, h := range img.Image.History {
		if !h.EmptyLayer && n < len(steps) {
			steps[n] = h.CreatedBy
			n++
		}
	}
	return steps
}

func layers(both [2]images.Found) (all []Layer) {
	steps := [2][]string{stepsOf(both[0]), stepsOf(both[1])}
	for n := range max(len(both[0].Layers), len(both[1].Layers)) {
		l := Layer{Number: n + 1}
		for i, img := range both {
			if n < len(img.Layers) {
				l.Digest[i], l.Step[i] = img.Layers[n].DiffID, steps[i][n]
			}
		}
		if l.Digest[0] != l.Digest[1] {
			all = append(all, l)
		}
	}
	return all
}

func files(ctx context.Context, from streams, both [2]images.Found) (all []File, err error) {
	same := 0
	for same < min(len(both[0].Layers), len(both[1].Layers)) &&
		both[0].Layers[same].DiffID == both[1].Layers[same].DiffID {
		same++
	}
	var trees [2]tree
	trees[0] = tree{}
	for n := range same {
		if err := trees[0].put(ctx, from, both[0].Layers[n], n); err != nil {
			return nil, err
		}
	}
	trees[1] = maps.Clone(trees[0])
	for i, img := range both {
		for n, l := range img.Layers[same:] {
			if err := trees[i].put(ctx, from, l, same+n); err != nil {
				return nil, err
			}
		}
	}
	steps := [2][]string{stepsOf(both[0]), stepsOf(both[1])}
	for _, t := range trees {
		maps.DeleteFunc(t, func(_ string, f file) bool { return f.implied })
	}
	for name, a := range trees[0] {
		b, there := trees[1][name]
		if !there {
			all = append(all, File{Path: name, Change: "removed", Step: steps[0][a.layer]})
		} else if what := a.differences(b); len(what) > 0 {
			all = append(all, File{Path: name, Change: "changed", What: what, Step: steps[1][b.layer]})
		}
	}
	for name, b := range trees[1] {
		if _, there := trees[0][name]; !there {
			all = append(all, File{Path: name, Change: "added", Step: steps[1][b.layer]})
		}
	}
	slices.SortFunc(all, func(a, b File) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return all, nil
}
