// Package accounts reads the accounts of an image: /etc/passwd and /etc/group below its root directory, which give
// names to its user and group IDs (container IDs). The image may be hostile, so the package opens no file outside of
// the root, whatever links there are, opens only regular files, and reads a bounded number of bytes. A missing file has
// no accounts.
package accounts
