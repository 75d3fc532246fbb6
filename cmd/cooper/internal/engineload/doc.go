// Package engineload gives built images to docker's engine, over a connection that is made before the process goes into
// the namespace, where the user's groups, by which the socket may be reached, are gone.
package engineload
