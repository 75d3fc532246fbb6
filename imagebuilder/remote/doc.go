// Package remote reads the names of remote sources: references to git repositories and URLs. It is pure; build/fetch
// gets what they name.
//
// The forms are those of docker (BuildKit): https://docs.docker.com/build/concepts/context/#git-repositories.
package remote
