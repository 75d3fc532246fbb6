package doctor

import (
	"fmt"
	"os"
	"testing"

	"github.com/cooperbuild/cooper/userns/asroot"
)

func TestMain(m *testing.M) {
	if !asroot.Real() {
		if err := asroot.LeaveOut(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
