// Package spec writes a step down as the config.json of the OCI runtime specification, which crun and runc take. It
// promises the same value for the same container, and looks at nothing but its arguments.
//
// https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
package spec
