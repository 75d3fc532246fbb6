package sourcepolicy

import (
	"strings"
	"testing"
)

// policy is one of some rules, each "ACTION IDENTIFIER [TO]", with REGEX or EXACT before the identifier if need be.
func policy(t *testing.T, order Order, rules ...string) *Policy {
	t.Helper()
	var texts []string
	for _, r := range rules {
		words := strings.Fields(r)
		kind := ""
		if words[1] == "REGEX" || words[1] == "EXACT" {
			kind = words[1]
			words = append(words[:1], words[2:]...)
		}
		text := `{"action":"` + words[0] + `","selector":{"identifier":"` + words[1] + `","matchType":"` + kind + `"}`
		if len(words) > 2 {
			text += `,"updates":{"identifier":"` + words[2] + `"}`
		}
		texts = append(texts, text+"}")
	}
	p, err := Parse([]byte(`{"rules":[`+strings.Join(texts, ",")+`]}`), order)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRulesAllowDenyAndConvertSources(t *testing.T) {
	t.Parallel()
	const a = "docker-image://docker.io/library/a:1"
	for name, tt := range map[string]struct {
		rules       []string
		order       Order
		source      string
		want, error string
	}{
		"none":                        {nil, LastWins, a, a, ""},
		"another":                     {[]string{"DENY docker-image://b"}, LastWins, a, a, ""},
		"denied":                      {[]string{"DENY " + a}, LastWins, a, "", a + " is denied by source policy"},
		"denied by a wildcard":        {[]string{"DENY *library/*"}, LastWins, a, "", "is denied"},
		"a wildcard is for all of it": {[]string{"DENY library/*"}, LastWins, a, a, ""},
		"exact has no wildcard":       {[]string{"DENY EXACT *"}, LastWins, a, a, ""},
		"regex is for a part":         {[]string{"DENY REGEX library/[ab]"}, LastWins, a, "", "is denied"},
		"the last wins":               {[]string{"DENY *", "ALLOW " + a}, LastWins, a, a, ""},
		"the first wins":              {[]string{"DENY *", "ALLOW " + a}, FirstWins, a, "", "is denied"},
		"converted":                   {[]string{"CONVERT " + a + " docker-image://x"}, LastWins, a, "docker-image://x", ""},
		"converted to what is denied": {[]string{"CONVERT " + a + " docker-image://x", "DENY docker-image://x"}, LastWins, a,
			"",
			"docker-image://x is denied"},
		"converted once": {[]string{"CONVERT " + a + " docker-image://x", "DENY docker-image://x"}, FirstWins, a,
			"docker-image://x", ""},
		"with what the wildcard was": {[]string{"CONVERT docker-image://docker.io/*:? docker-image://m/${1}@$2"}, LastWins, a,
			"docker-image://m/library/a@1", ""},
		"in a circle": {[]string{"CONVERT " + a + " docker-image://x", "CONVERT docker-image://x " + a}, LastWins, a, "",
			"more than 20 times"},
		"to another kind": {[]string{"CONVERT " + a + " https://x"}, LastWins, a, "", "another kind of source"},
		"http to https":   {[]string{"CONVERT http://* https://$1"}, LastWins, "http://x/y", "https://x/y", ""},
		"to itself":       {[]string{"CONVERT " + a + " " + a, "DENY *"}, LastWins, a, "", "is denied"},
	} {
		got, err := policy(t, tt.order, tt.rules...).Source(tt.source)
		if got != tt.want || (err == nil) != (tt.error == "") || err != nil && !strings.Contains(err.Error(), tt.error) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := (*Policy)(nil).Source(a); got != a || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFaultyPoliciesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":   "not the JSON of a source policy",
		`[]`: "not the JSON of a source policy",
		`{"rules":[{"selector":{"identifier":"a"}}]}`:                                                "rule 1: action is required",
		`{"rules":[{"action":"X","selector":{"identifier":"a"}}]}`:                                   `rule 1: action "X": must be`,
		`{"rules":[{"action":"DENY"}]}`:                                                              "selector.identifier is required",
		`{"rules":[{"action":"CONVERT","selector":{"identifier":"a"}}]}`:                             "updates.identifier is required for CONVERT",
		`{"rules":[{"action":"DENY","selector":{"identifier":"a","matchType":"GLOB"}}]}`:             `"GLOB": must be`,
		`{"rules":[{"action":"DENY","selector":{"identifier":"(","matchType":"REGEX"}}]}`:            "missing closing",
		`{"rules":[{"action":"DENY","selector":{"identifier":"a","constraints":[{}]}}]}`:             "constraints are not supported",
		`{"rules":[{"action":"ALLOW","selector":{"identifier":"a"},"updates":{"attrs":{"a":"b"}}}]}`: "attrs are not supported",
	} {
		if _, err := Parse([]byte(text), LastWins); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"rules":[{"action":"CONVERT","selector":{"identifier":"a*"},"updates":{"identifier":"b$1"}}]}`), "abc")
	f.Fuzz(func(t *testing.T, text []byte, source string) {
		p, err := Parse(text, LastWins)
		if err != nil {
			return
		}
		if got, err := p.Source(source); err != nil && got != "" {
			t.Errorf("%q, %v", got, err)
		}
	})
}
