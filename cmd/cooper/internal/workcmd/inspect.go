package workcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// Named is what inspect is asked for: Kind is image, container or all.
type Named struct{ Name, Kind string }

// Inspected tells of what buildah's JSON is for: working containers and, in its dialect, images. is tells whether it is
// one of these.
func Inspected(ctx context.Context, env command.Env, s *build.Session, n Named) (info working.Info, is bool,
	err error) {
	if n.Kind != "image" {
		info, err = working.Inspect(ctx, s, n.Name)
		if err == nil || n.Kind == "container" || !errors.Is(err, working.ErrNone) && !errors.Is(err, working.ErrOther) {
			return info, err == nil, err
		}
	}
	if env.Dialect != dialect.Buildah {
		return info, false, nil
	}
	info, err = working.InspectImage(ctx, s, n.Name)
	return info, err == nil, err
}

// WriteInspected writes one object after the other, as buildah does.
func WriteInspected(env command.Env, l command.Layout, all []working.Info) error {
	if !l.JSON() {
		if err := command.WriteRows(env.Out(), l, true, all); err != nil {
			return fmt.Errorf("write what was found: %w", err)
		}
		return nil
	}
	for _, info := range all {
		if err := command.WriteIndented(env.Out(), info); err != nil {
			return fmt.Errorf("write what was found: %w", err)
		}
	}
	return nil
}
