package unpack

import (
	"os"
	"testing"

	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.OnDisk(usertest.Both(m.Run))) }
