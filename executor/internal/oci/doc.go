// Package oci is the back end that has an OCI runtime run the step: the step's first process becomes the runtime, with
// a bundle that no other process sees.
package oci
