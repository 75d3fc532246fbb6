package step

// Hook is a program that an OCI runtime runs at a point of a container's life. Only a step with a Runtime can have one.
type Hook struct {
	Point     string // prestart, createRuntime, createContainer, startContainer, poststart or poststop
	Path      string // absolute, on the caller's machine; of startContainer in the step's root
	Args, Env []string
	Timeout   *int // seconds; nil: as long as it takes
}
