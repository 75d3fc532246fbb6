package command

import "testing"

func TestOnlyNearWordsAreNear(t *testing.T) {
	options := []string{"build", "check", "df", "doctor", "prune", "top", "tag", "no-cache"}
	for word, want := range map[string]string{
		"bulid": "build", "chekc": "check", "prnue": "prune", "tpo": "top", "no-cahce": "no-cache", "nocache": "no-cache",
		"d": "df", "doc": "doctor",
		"ps": "", "rm": "", "tat": "tag", "run": "", "images": "", "bui": "build", "pr": "", "": "", "completely": "",
	} {
		if got := Near(word, options); got != want {
			t.Errorf("%q is taken for %q, want %q", word, got, want)
		}
	}
}
