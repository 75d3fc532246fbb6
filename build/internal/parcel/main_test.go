package parcel_test

import (
	"os"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }
