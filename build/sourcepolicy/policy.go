// Package sourcepolicy decides which base images, repositories and URLs a build may use, by rules in BuildKit's JSON,
// and which others take their place. It reads no files and fetches nothing.
package sourcepolicy

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Order says which of several rules that allow or deny a source counts.
type Order int

// The orders.
const (
	// LastWins is BuildKit's: the last rule that matches.
	LastWins Order = iota
	// FirstWins is that of podman and buildah: the first rule that matches.
	FirstWins
)

// A Policy is a list of rules. A nil policy allows everything.
type Policy struct {
	order Order
	rules []rule
}

// The actions of rules.
const (
	allow   = "ALLOW"
	deny    = "DENY"
	convert = "CONVERT"
)

// rule is one rule as it is written; match is made of its selector.
type rule struct {
	Action   string `json:"action"`
	Selector struct {
		Identifier  string            `json:"identifier"`
		MatchType   string            `json:"matchType"`
		Constraints []json.RawMessage `json:"constraints"`
	} `json:"selector"`
	Updates *struct {
		Identifier string            `json:"identifier"`
		Attrs      map[string]string `json:"attrs"`
	} `json:"updates"`

	match *regexp.Regexp
}

// maxConversions bounds how often a source takes the place of another one: rules may go in a circle.
const maxConversions = 20

// Parse reads the JSON of a policy.
func Parse(text []byte, order Order) (*Policy, error) {
	var file struct {
		Rules []rule `json:"rules"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("it is not the JSON of a source policy: %w", err)
	}
	for n := range file.Rules {
		if err := file.Rules[n].check(); err != nil {
			return nil, fmt.Errorf("rule %d: %w", n+1, err)
		}
	}
	return &Policy{order: order, rules: file.Rules}, nil
}

// check refuses a rule that can't be followed, and makes its match.
func (r *rule) check() error {
	switch r.Action {
	case allow, deny, convert:
	case "":
		return errors.New("action is required: ALLOW, DENY or CONVERT")
	default:
		return fmt.Errorf("action %q: must be ALLOW, DENY or CONVERT", r.Action)
	}
	switch {
	case r.Selector.Identifier == "":
		return errors.New("selector.identifier is required")
	case len(r.Selector.Constraints) > 0:
		return errors.New("selector.constraints are not supported: a rule is about an identifier only")
	case r.Action == convert && (r.Updates == nil || r.Updates.Identifier == ""):
		return errors.New("updates.identifier is required for CONVERT")
	case r.Updates != nil && len(r.Updates.Attrs) > 0:
		return errors.New("updates.attrs are not supported: ADD --checksum says what a file must be")
	}
	pattern := regexp.QuoteMeta(r.Selector.Identifier)
	switch r.Selector.MatchType {
	case "", "WILDCARD":
		pattern = strings.NewReplacer(`\*`, "(.*)", `\?`, "(.)").Replace(pattern)
	case "EXACT":
	case "REGEX":
		pattern = r.Selector.Identifier
	default:
		return fmt.Errorf("selector.matchType %q: must be EXACT, WILDCARD or REGEX", r.Selector.MatchType)
	}
	if r.Selector.MatchType != "REGEX" {
		pattern = "^" + pattern + "$"
	}
	var err error
	r.match, err = regexp.Compile(pattern)
	return err
}

// Source is what takes the place of a source, the source itself if no rule converts it, or an error if it is denied.
// Sources are named as in BuildKit: docker-image://docker.io/library/alpine:3, git://HOST/PATH#REF, https://HOST/PATH.
func (p *Policy) Source(source string) (string, error) {
	if p == nil {
		return source, nil
	}
	is := source
	for range maxConversions {
		next, err := p.once(is)
		if err != nil || next == is {
			return next, err
		}
		if scheme(next) != scheme(is) {
			return "", fmt.Errorf("the source policy converts %s to %s, which is another kind of source", is, next)
		}
		is = next
		if p.order == FirstWins {
			return is, nil
		}
	}
	return "", fmt.Errorf("the source policy converts %s more than %d times", source, maxConversions)
}

// once follows the rules for a source once.
func (p *Policy) once(source string) (string, error) {
	denied := false
	for _, r := range p.rules {
		if r.Selector.Identifier != source && !r.match.MatchString(source) {
			continue
		}
		if r.Action == convert {
			if to := r.converted(source); to != source || p.order == FirstWins {
				return to, nil
			}
			continue
		}
		denied = r.Action == deny
		if p.order == FirstWins {
			break
		}
	}
	if denied {
		return "", fmt.Errorf("%s is denied by source policy", source)
	}
	return source, nil
}

// converted is what a rule makes of a source; $1 or ${1} in it is what the first wildcard or group matched.
func (r rule) converted(source string) string {
	at := r.match.FindStringSubmatchIndex(source)
	if at == nil || !strings.Contains(r.Updates.Identifier, "$") {
		return r.Updates.Identifier
	}
	return string(r.match.ExpandString(nil, r.Updates.Identifier, source, at))
}

// scheme is the kind of a source; files of http and https are of one kind.
func scheme(source string) string {
	kind, _, _ := strings.Cut(source, "://")
	if kind == "http" {
		return "https"
	}
	return kind
}
