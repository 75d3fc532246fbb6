package outfile

import (
	"os"
	"testing"

	"github.com/cooperbuild/cooper/userns/usertest"
)

// TestMain has root run the tests twice: in a user namespace some files have no owner.
func TestMain(m *testing.M) { os.Exit(usertest.Main(usertest.Both(m.Run))) }
