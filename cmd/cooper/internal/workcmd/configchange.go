package workcmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/words"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// given tells whether a flag was given.
func (o *configOptions) given(name string) bool { return o.flags.Changed(name) }

// change makes the changes that the flags ask for.
func (o *configOptions) change(s *working.State) error {
	i := s.Image.Clone()
	note := func(format string, args ...any) {
		if o.addHistory {
			s.Note("/bin/sh -c #(nop) "+fmt.Sprintf(format, args...), time.Now().UTC())
		}
	}
	o.texts(s, &i, note)
	for _, do := range []func(*imagebuilder.Image, func(string, ...any)) error{
		o.program, o.environment, o.lists, o.platform, o.health,
	} {
		if err := do(&i, note); err != nil {
			return err
		}
	}
	var err error
	if s.Annotations, err = pairs("--annotation", s.Annotations, o.annotations); err != nil {
		return err
	}
	s.Image = i
	return nil
}

// texts sets what is one text each.
func (o *configOptions) texts(s *working.State, i *imagebuilder.Image, note func(string, ...any)) {
	c := &i.Config
	for name, set := range map[string]struct{ to, value *string }{
		"author": {&i.Author, &o.author}, "comment": {&i.Comment, &o.comment}, "created-by": {&s.CreatedBy, &o.createdBy},
		"history-comment": {&s.HistoryComment, &o.historyComment}, "hostname": {&c.Hostname, &o.hostname},
		"domainname": {&c.Domainname, &o.domainname}, "user": {&c.User, &o.user},
		"stop-signal": {&c.StopSignal, &o.stopSignal},
	} {
		if o.given(name) {
			*set.to = *set.value
		}
	}
	if o.given("user") {
		note("USER %s", c.User)
	}
	if o.given("stop-signal") {
		note("STOPSIGNAL %s", c.StopSignal)
	}
	if o.given("workingdir") {
		c.WorkingDir = o.workdir
		if o.workdir != "" {
			c.WorkingDir = path.Join("/", o.workdir)
		}
		note("WORKDIR %s", c.WorkingDir)
	}
	for _, text := range o.onbuild {
		c.OnBuild = append(c.OnBuild, text)
		note("ONBUILD %s", text)
	}
}

// program sets what containers start.
func (o *configOptions) program(i *imagebuilder.Image, note func(string, ...any)) error {
	c := &i.Config
	if o.given("shell") {
		words, err := words.Split(o.shell)
		if err != nil {
			return command.Usagef("--shell %q: %w", o.shell, err)
		}
		c.Shell = words
		note("SHELL %s", asJSON(words))
	}
	if o.given("entrypoint") {
		switch list := []string(nil); {
		case strings.TrimSpace(o.entrypoint) == "":
			c.Entrypoint = nil
		case json.Unmarshal([]byte(o.entrypoint), &list) == nil:
			c.Entrypoint = list
		default:
			c.Entrypoint = []string{"/bin/sh", "-c", o.entrypoint}
		}
		note("ENTRYPOINT %s", asJSON(c.Entrypoint))
	}
	if o.given("cmd") {
		words, err := words.Split(o.cmd)
		if err != nil {
			return command.Usagef("--cmd %q: %w", o.cmd, err)
		}
		c.Cmd = words
		note("CMD %s", asJSON(words))
	}
	return nil
}

func asJSON(words []string) string {
	text, err := json.Marshal(words)
	if err != nil {
		return fmt.Sprintf("%q", words)
	}
	return string(text)
}

// environment sets variables, whose values may have others of the config's in them.
func (o *configOptions) environment(i *imagebuilder.Image, note func(string, ...any)) error {
	for _, text := range o.env {
		name, value, whole := strings.Cut(text, "=")
		switch bare, removes := strings.CutSuffix(text, "-"); {
		case whole && name == "":
			return command.Usagef("--env %q: must be NAME=VALUE, NAME or NAME-", text)
		case whole:
			value = os.Expand(value, func(name string) string {
				v, _ := i.Env(name)
				return v
			})
		case text == "-":
			i.Config.Env = nil
			note("ENV -")
			continue
		case removes:
			*i = i.WithoutEnv([]string{bare})
			note("ENV %s", text)
			continue
		default:
			var there bool
			if value, there = os.LookupEnv(name); !there {
				continue
			}
		}
		draft := imagebuilder.Draft{Image: *i}
		draft.SetEnv(name, value)
		*i = draft.Image
		note("ENV %s=%s", name, value)
	}
	return nil
}

// lists sets labels, ports and volumes.
func (o *configOptions) lists(i *imagebuilder.Image, note func(string, ...any)) (err error) {
	c := &i.Config
	if c.Labels, err = pairs("--label", c.Labels, o.labels); err != nil {
		return err
	}
	for _, l := range o.labels {
		note("LABEL %s", l)
	}
	*i = i.WithoutLabels(o.unsets)
	c.ExposedPorts, err = set(c.ExposedPorts, o.ports, portKeys)
	if err != nil {
		return command.Usagef("--port: %w", err)
	}
	for _, p := range o.ports {
		note("EXPOSE %s", p)
	}
	for _, v := range o.volumes {
		note("VOLUME %s", v)
	}
	c.Volumes, err = set(c.Volumes, o.volumes, func(v []string) ([]string, error) { return v, nil })
	return err
}

// portKeys are what a config has for a word of --port.
func portKeys(words []string) (keys []string, err error) {
	for _, w := range words {
		p, err := imagebuilder.ParsePorts(w)
		if err != nil {
			return nil, err
		}
		keys = append(keys, p.Keys...)
	}
	return keys, nil
}

// pairs changes KEY=VALUE entries: KEY- takes one away, - all.
func pairs(flag string, have map[string]string, changes []string) (map[string]string, error) {
	if len(changes) == 0 {
		return have, nil
	}
	all := maps.Clone(have)
	if all == nil {
		all = map[string]string{}
	}
	for _, text := range changes {
		key, value, whole := strings.Cut(text, "=")
		switch bare, removes := strings.CutSuffix(text, "-"); {
		case whole && key == "" || text == "":
			return nil, command.Usagef("%s %q: must be KEY=VALUE or KEY-", flag, text)
		case text == "-":
			clear(all)
		case !whole && removes:
			delete(all, bare)
		default:
			all[key] = value
		}
	}
	return all, nil
}

// set changes a set of words: WORD- takes one away, - all. read gives the keys of words.
func set(have map[string]struct{}, changes []string, read func([]string) ([]string, error)) (map[string]struct{},
	error) {
	all := maps.Clone(have)
	if all == nil && len(changes) > 0 {
		all = map[string]struct{}{}
	}
	for _, text := range changes {
		if text == "-" {
			clear(all)
			continue
		}
		bare, removes := strings.CutSuffix(text, "-")
		keys, err := read([]string{bare})
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if removes {
				delete(all, k)
				continue
			}
			all[k] = struct{}{}
		}
	}
	return all, nil
}

// platform sets what the image is for.
func (o *configOptions) platform(i *imagebuilder.Image, _ func(string, ...any)) error {
	p := &i.Platform
	for name, set := range map[string]struct{ to, value *string }{
		"os": {&p.OS, &o.os}, "arch": {&p.Architecture, &o.arch}, "variant": {&p.Variant, &o.variant},
		"os-version": {&p.OSVersion, &o.osVersion},
	} {
		if o.given(name) {
			*set.to = *set.value
		}
	}
	if o.given("arch") && !o.given("variant") {
		p.Variant = ""
	}
	for _, text := range o.osFeatures {
		bare, removes := strings.CutSuffix(text, "-")
		switch {
		case text == "-":
			p.OSFeatures = nil
		case removes:
			p.OSFeatures = slices.DeleteFunc(p.OSFeatures, func(f string) bool { return f == bare })
		case !slices.Contains(p.OSFeatures, text):
			p.OSFeatures = append(p.OSFeatures, text)
		}
	}
	return nil
}

// health sets the health check. Its times count only together with it.
func (o *configOptions) health(i *imagebuilder.Image, note func(string, ...any)) error {
	if !o.given("healthcheck") {
		return nil
	}
	kind, rest, _ := strings.Cut(strings.TrimSpace(o.healthcheck), " ")
	h := imagebuilder.Healthcheck{Interval: o.healthInterval, Timeout: o.healthTimeout, StartPeriod: o.healthStart,
		StartInterval: o.healthStartInterval, Retries: o.healthRetries}
	switch kind {
	case "":
		i.Config.Healthcheck = nil
		return nil
	case "NONE":
		h = imagebuilder.Healthcheck{Test: []string{"NONE"}}
	case "CMD-SHELL":
		h.Test = []string{"CMD-SHELL", strings.TrimSpace(rest)}
	case "CMD":
		words, err := words.Split(rest)
		if err != nil {
			return command.Usagef("--healthcheck %q: %w", o.healthcheck, err)
		}
		h.Test = append([]string{"CMD"}, words...)
	default:
		return command.Usagef("--healthcheck %q: must begin with CMD, CMD-SHELL or NONE", o.healthcheck)
	}
	*i = i.WithHealthcheck(h)
	note("HEALTHCHECK %s", o.healthcheck)
	return nil
}
