// Package lent gives steps what is the host's: devices, namespaces, groups, and names in /etc/hosts.
package lent
