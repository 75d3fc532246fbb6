// Package git gets trees from git repositories by the program git, and keeps them and what they were made of for later
// builds. The refs of a repository are asked for each time; a full commit ID whose tree is kept needs no network at
// all.
//
// Repositories and servers are hostile. The git program runs without the user's and the system's configuration, without
// hooks, credential helpers, .netrc and the user's ssh keys; only the transports https, http, ssh and git can be used,
// and file only for a repository that is a file itself. Symbolic links in a repository lead nobody out: a subdirectory
// is found without following any.
//
// Credentials reach git through the environment, never through arguments. They appear in no error, no file name and no
// file that is kept.
package git
