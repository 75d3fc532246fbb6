package index

import (
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
)

func TestTheNearestStepOfAPlaceIsOneOfItsShapeOrText(t *testing.T) {
	recipe := (&cache.Recipe{Parts: []cache.Part{{Name: "user"}}}).Pack(MaxRecipe)
	key := func(name string) cache.Key { return cache.NewKey(name).Key() }
	now := time.Now()
	x := &Index{Records: map[cache.Key]Record{
		key("1"): {Shape: key("a"), Step: "RUN make", Created: now, Recipe: recipe},
		key("2"): {Shape: key("a"), Step: "RUN make", Created: now.Add(time.Hour), Recipe: recipe},
		key("3"): {Shape: key("b"), Step: "RUN make install", Created: now, Recipe: recipe},
		key("4"): {Shape: key("c"), Step: "COPY . /src", Created: now, Recipe: recipe},
		key("5"): {Shape: key("d"), Step: "RUN nobody knows what it was made of", Created: now},
	}}
	for name, c := range map[string]struct {
		shape cache.Key
		text  string
		want  cache.Key
	}{
		"the last of the shape": {key("a"), "RUN other", key("2")},
		"the text":              {key("new"), "COPY . /src", key("4")},
		"a text that is alike":  {key("new"), "RUN make install --now", key("3")},
		"none":                  {key("new"), "RUN nobody knows what it was made of", ""},
		"another instruction":   {key("new"), "COPYING nothing", ""},
	} {
		got := x.Near(c.shape, c.text)
		want, ok := x.Records[c.want]
		if (got != nil) != ok || got != nil && (got.Step != want.Step || !got.Created.Equal(want.Created)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
