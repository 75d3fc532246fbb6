// Package settings reads cooper.toml: what stands for flags that aren't given.
//
// There is a file of the machine's and one of the user's, whose keys go before the machine's one by one. A setting is
// one line of the table in keys.go, which the documentation is written from, too. Files are read strictly: a key that
// is unknown, or a value that can't be, is an error that says file, line, key and what may stand there.
package settings
