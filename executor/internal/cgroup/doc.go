// Package cgroup puts a step into control groups of its own, of version 2 or 1, wherever the caller may make some:
// below its own group, at the top as root, or in a scope that systemd delegates to it. It says what the step took in
// them and which limit it met.
package cgroup
