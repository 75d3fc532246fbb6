package container

// Names, Environ and Replace are for the tests.
var (
	Names   = names
	Environ = environ
	Replace = replace
)
