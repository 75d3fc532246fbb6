package pull_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/registry"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

func TestPullingFromNowhereIsOneError(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	_, err := s.Pull.Pull(ctx, "127.0.0.1:1/nothing", pull.Options{Registry: registry.Options{Insecure: true}})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1/nothing") {
		t.Errorf("error %v does not name the image", err)
	}
}
