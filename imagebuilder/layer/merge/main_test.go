package merge

import (
	"os"
	"testing"

	"github.com/cooperbuild/cooper/userns/usertest"
)

// TestMain has root run the tests twice, for the files' owners and marks are others in a user namespace.
func TestMain(m *testing.M) { os.Exit(usertest.OnDisk(usertest.Both(m.Run))) }
