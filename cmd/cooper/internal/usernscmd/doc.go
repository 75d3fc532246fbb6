// Package usernscmd has the verbs of user namespaces: userns, which shows their ID maps, and unshare, which enters one.
package usernscmd
