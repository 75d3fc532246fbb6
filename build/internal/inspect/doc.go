// Package inspect looks at a Dockerfile without building it: the linter's report, what its target can be given, its
// stages; as text or JSON in the forms of docker build --call.
package inspect
