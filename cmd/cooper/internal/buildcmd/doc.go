// Package buildcmd is cooper build and what is a build by another name, check and kaniko-args: flags to request, and
// what is shown and written of the result.
package buildcmd
