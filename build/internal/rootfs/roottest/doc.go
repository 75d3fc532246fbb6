// Package roottest makes root file systems for tests: builds in a store of their own, and steps that write files.
package roottest
