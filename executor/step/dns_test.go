package step_test

import (
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/executor/step"
)

func TestSettingsThatCanNotStandInAResolvConfAreRefused(t *testing.T) {
	t.Parallel()
	for says, d := range map[string]step.DNS{
		"":                   {Servers: []string{"1.1.1.1", "::1"}, Search: []string{"."}, Options: []string{"ndots:2"}},
		"must be an address": {Servers: []string{"none"}}, `"a b": must be one word`: {Search: []string{"a b"}},
		`"x#": must be one word`: {Options: []string{"x#"}}, `"": must be one word`: {Options: []string{""}},
		"--dns=none": {None: true, Search: []string{"x"}},
	} {
		err := d.Check()
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if err := (step.DNS{None: true}).Check(); err != nil {
		t.Error(err)
	}
}
