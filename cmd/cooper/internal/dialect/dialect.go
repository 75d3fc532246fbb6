package dialect

import (
	"fmt"
	"path/filepath"
)

// A Dialect says whose defaults and messages the program has.
type Dialect string

// The dialects.
const (
	Cooper  Dialect = "cooper"
	Docker  Dialect = "docker"
	Podman  Dialect = "podman"
	Buildah Dialect = "buildah"
)

// Variable is the variable of the environment that chooses a dialect, whatever the program is called.
const Variable = "COOPER_DIALECT"

// The versions of the tools whose command lines this package has. Scripts that ask for a version, and images that say
// it in a label, get these.
const (
	BuildahVersion = "1.45.0"
	PodmanVersion  = "6.0.0"
	DockerVersion  = "29.9.3"
	BuildxVersion  = "0.38.2"
)

// Choose is the dialect of a program that was started by the name argv0; chosen is the value of Variable, which wins
// unless it is empty.
func Choose(argv0, chosen string) (Dialect, error) {
	switch d := Dialect(chosen); d {
	case "":
	case Cooper, Docker, Podman, Buildah:
		return d, nil
	default:
		return Cooper, fmt.Errorf("%s=%s: must be %s, %s, %s or %s", Variable, chosen, Cooper, Docker, Podman, Buildah)
	}
	switch name := filepath.Base(argv0); name {
	case string(Docker), string(Podman), string(Buildah):
		return Dialect(name), nil
	case "docker-buildx", "buildx":
		return Docker, nil
	}
	return Cooper, nil
}

// Containers says that the dialect is podman's or buildah's, which share most of what they do.
func (d Dialect) Containers() bool { return d == Podman || d == Buildah }

// Version is what the program answers to --version, where scripts look for the version of the tool that they know; own
// is that of this program.
func (d Dialect) Version(own string) string {
	switch d {
	case Buildah:
		return fmt.Sprintf("buildah version %s (cooper %s)", BuildahVersion, own)
	case Podman:
		return fmt.Sprintf("podman version %s (cooper %s)", PodmanVersion, own)
	case Docker:
		return fmt.Sprintf("Docker version %s, build cooper-%s", DockerVersion, own)
	}
	return "cooper " + own
}
