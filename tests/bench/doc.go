// Command bench measures how long cooper takes for the work that builds are made of, as an ordinary user, beside two
// others in the same run: limit programs, which do only what the work needs whoever does it (copy the files, hash them,
// start the processes), and buildah where it is installed.
//
// As root it makes the user cooperbench, and every row gets a home directory on an ext4 file system of its own (a loop
// mount of a sparse file, in a private mount namespace that takes the mounts with it when bench ends, however it ends):
// a file system that was just emptied is slow for seconds, and would measure the row before. As anyone else it measures
// as that user in a plain directory, and says so.
//
// Contenders take turns within a run, in an order that rotates, so that none is always first. Each value is the median
// of the runs. Peak memory is the largest resident set of any process of the build (wait4's ru_maxrss).
//
// It writes benchmarks.json, with every sample, and benchmarks.md, the table. A goal that is missed is reported and is
// not an error: only a contender that fails is.
//
// One room: contenders, sites and rows are one program's, and no other asks for any of them.
package main
