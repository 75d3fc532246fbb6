package mend_test

import (
	"os"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.OnDisk(m.Run, store.HandleReexec)) }
