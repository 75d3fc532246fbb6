// Package engine gives images of a store to docker's engine, over the API that docker load uses. An engine that has the
// same store, as podman's service has, gets nothing: it has the image.
package engine
