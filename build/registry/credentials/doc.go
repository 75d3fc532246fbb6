// Package credentials finds the credentials for a registry in the files and helpers where podman and docker keep them,
// keeps those of a login there, and forgets them: auth.json (containers-auth.json(5)), docker's config.json, and the
// programs docker-credential-*. It sends no request.
package credentials
