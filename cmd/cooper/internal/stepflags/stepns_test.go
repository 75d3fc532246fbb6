package stepflags

import (
	"errors"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/userns"
)

func TestAMapWithoutRootIsRefusedByItsFlag(t *testing.T) {
	all, some := userns.Map{{Container: 0, Host: 1, Length: 10}}, userns.Map{{Container: 1, Host: 1, Length: 10}}
	if err := HasRoot(userns.Mapping{UIDs: all, GIDs: all}, "why"); err != nil {
		t.Error(err)
	}
	for want, m := range map[string]userns.Mapping{
		"the map has no container ID 0 for users, and why\nhint: map 0, too, such as --uidmap 0:1:1": {UIDs: some,
			GIDs: all},
		"the map has no container ID 0 for groups, and why\nhint: map 0, too, such as --gidmap 0:1:1": {UIDs: all,
			GIDs: some},
	} {
		if err := HasRoot(m, "why"); err == nil || err.Error() != want || !errors.As(err, new(command.UsageError)) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
