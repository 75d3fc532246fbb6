// Package accounts reads the accounts of an image: /etc/passwd and /etc/group below its root directory, which say what
// its user and group IDs, container IDs, are called. Both files are the image's and may be hostile: nothing outside the
// root is opened, whatever links there are; only regular files are; and what is read is bounded. A file that isn't
// there has no accounts.
package accounts
