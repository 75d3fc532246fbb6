// Package runstep carries out RUN: it says what a step is found by in the cache, opens what its mounts show, and has
// the executor run it.
//
// All that a step can see and that isn't the machine's is in its key: arguments, environment, options, the content of
// bind mounts. Secrets, agents, the content of cache mounts, and what runs the step are not, by design. What is mounted
// is opened before the step's first process is there and released when its last one has ended, however the step ends;
// the sockets and pipes of a context are never within its reach.
package runstep
