package registry

import (
	"errors"
	"net"
	"net/http"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
)

// FileProblem is a file that can't be read or understood; Err names its path.
type FileProblem struct {
	Name string
	Err  error
}

// CheckFiles reads everything that says how to reach registries, as a pull would, and sends no request:
// registries.conf, policy.json and the credential files. It returns one problem for each faulty file, in the order in
// which they are read.
func CheckFiles(authFile string) []FileProblem {
	var found []FileProblem
	err := conf.Read()
	if err == nil {
		_, err = conf.LoadShortNames()
	}
	if err != nil {
		found = append(found, FileProblem{"registries.conf", err})
	}
	if _, err := conf.LoadPolicy(); err != nil {
		found = append(found, FileProblem{"policy.json", err})
	}
	for _, err := range credentials.Check(authFile) {
		found = append(found, FileProblem{"auth.json", err})
	}
	return found
}

// MayPass tells whether an error may be gone a while later: an error of the network, or of a registry that is
// overloaded or under maintenance.
func MayPass(err error) bool {
	if refused := new(wire.StatusError); errors.As(err, &refused) {
		return refused.Code >= http.StatusInternalServerError || refused.Code == http.StatusTooManyRequests ||
			refused.Code == http.StatusRequestTimeout
	}
	var network net.Error
	return errors.As(err, &network) || wire.Broke(err)
}
