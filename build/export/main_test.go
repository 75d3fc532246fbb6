package export

import (
	"os"
	"testing"

	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(m.Run)) }
