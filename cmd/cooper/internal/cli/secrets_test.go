package cli

import "testing"

func TestSecretsAreReadInBothSpellings(t *testing.T) {
	t.Setenv("IN_ENV", "x")
	for text, want := range map[string]secretSpec{
		"id=a,src=f":                 {"a", "f", ""},
		"id=a,source=f,type=file":    {"a", "f", ""},
		"type=file,id=a":             {"a", "a", ""},
		"id=a,env=V":                 {"a", "", "V"},
		"id=a,type=env,src=V":        {"a", "", "V"},
		"id=a,type=env,env=V":        {"a", "", "V"},
		"id=IN_ENV":                  {"IN_ENV", "", "IN_ENV"},
		"id=IN_ENV,type=file":        {"IN_ENV", "IN_ENV", ""},
		"id=not-set":                 {"not-set", "not-set", ""},
		"id=not-set,type=env":        {"not-set", "", "not-set"},
		`ID=a,"src=with,comma"`:      {"a", "with,comma", ""},
		"":                           {},
		"id":                         {},
		"src=f":                      {},
		"id=a,src=f,env=V":           {},
		"id=a,type=file,env=V":       {},
		"id=a,type=nothing":          {},
		"id=a,mode=0400":             {},
		"id=a,type=env,src=f,env=V":  {},
		"id=a,src=f\nid=b,src=other": {"a", "f", ""},
	} {
		got, err := parseSecret(text)
		if got != want && err == nil || (err != nil) != (want == secretSpec{}) {
			t.Errorf("%q: %+v %v, want %+v", text, got, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "1": 1, "10b": 10, "4k": 4096, "64m": 64 << 20, "64MB": 64 << 20, "2g": 2 << 30,
		"x": -1, "0": -1, "-1": -1, "1t": -1, "9999999999g": -1, "m": -1, "1.5m": -1,
	} {
		got, err := parseSize(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %d %v", text, got, err)
		}
	}
}
