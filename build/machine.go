package build

import (
	"context"
	"errors"
	"fmt"

	"github.com/cooperbuild/cooper/build/outputs"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/depot"
	"github.com/cooperbuild/cooper/executor"
)

// machineError makes an ErrMachine of an error of a disk that can't take what has to be written to it, which may come
// from anywhere: a pull, a step's directory, a commit, a shifted copy, an output; and of one of a container around the
// build that hides parts of /proc.
func machineError(st *store.Store, err error) error {
	if errors.Is(err, ErrMachine) {
		return err
	}
	if errors.Is(err, executor.ErrHiddenProc) {
		return fmt.Errorf("%w: %w\nhint: start the container around this with --security-opt systempaths=unconfined (podman: unmask=ALL), "+
			"or in Kubernetes with securityContext.procMount: Unmasked", ErrMachine, err)
	}
	if st != nil {
		err = st.Unusable(err)
	}
	if full := new(outputs.DiskError); errors.As(err, &full) {
		return fmt.Errorf("%w: %w", ErrMachine, full)
	}
	if full := new(store.UnusableError); errors.As(err, &full) {
		return fmt.Errorf("%w: %w", ErrMachine, full)
	}
	return err
}

// openStore is depot.Open with its ErrMachines.
func openStore(ctx context.Context, o StoreOptions) (*depot.Depot, error) {
	d, err := depot.Open(ctx, o)
	return d, machineError(nil, err)
}

// tellOf has what is to be known of a store shown in the progress of a build; nil if that shows nothing.
func tellOf(to progress.Sink) func(string) {
	if progress.Silent(to) {
		return nil
	}
	return func(text string) { to.Emit(progress.Note{Text: "WARNING: " + text}) }
}
