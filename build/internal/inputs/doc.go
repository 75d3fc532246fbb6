// Package inputs finds what a build is made from: the main context and the named ones (directories, archives, standard
// input, git repositories, URLs), the Dockerfile and its ignore file.
//
// Contexts other than the user's own directories are hostile: no path in them is resolved by the kernel. What is
// fetched or unpacked lies in the store, and is removed by the next build if this one is killed.
package inputs
