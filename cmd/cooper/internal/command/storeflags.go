package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
)

// UsualRetries is how often a transfer is tried again unless the user says otherwise: podman's number.
const UsualRetries = 3

// AddStoreFlags adds the flags that say which store is used.
func AddStoreFlags(f *pflag.FlagSet, s *build.StoreOptions) {
	f.StringVar(&s.Root, "root", "", "directory of the image store (default as storage.conf says)")
	f.StringVar(&s.RunRoot, "runroot", "", "directory for the store's run-time state")
	f.Var(&driverFlag{&s.Driver}, "storage-driver", "driver of the image store: "+strings.Join(build.StorageDrivers(),
		" or "))
	f.StringArrayVar(&s.DriverOptions, "storage-opt", nil, "option of the storage driver, KEY=VALUE")
}

// driverFlag takes the names of drivers that there are.
type driverFlag struct{ name *string }

var _ pflag.Value = (*driverFlag)(nil)

func (d *driverFlag) Set(name string) error {
	if name != "" && !slices.Contains(build.StorageDrivers(), name) {
		return fmt.Errorf("must be %s", strings.Join(build.StorageDrivers(), " or "))
	}
	*d.name = name
	return nil
}

func (d *driverFlag) String() string {
	if d.name == nil {
		return ""
	}
	return *d.name
}

func (d *driverFlag) Type() string { return "string" }
