package registry

import (
	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/credentials"
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
