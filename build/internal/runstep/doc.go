// Package runstep carries out RUN: it makes a step's cache key, opens its mounts, and has the executor run it.
//
// The key covers all that a step can see, except the machine: arguments, environment, options, the content of bind
// mounts. By design it doesn't cover secrets, agents, the content of cache mounts, and which executor runs the step.
// Mounts are opened before the step's first process starts and released when its last process has ended, however the
// step ends. A step can never reach the sockets and pipes of a context.
package runstep
