// Package remote reads the names of remote sources: references to git repositories and URLs. It is pure; package
// build/fetch downloads the sources.
//
// The forms are those of docker (BuildKit): https://docs.docker.com/build/concepts/context/#git-repositories.
package remote
