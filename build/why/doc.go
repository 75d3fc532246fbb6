// Package why says why each step of a build ran, or need not run.
//
// While a build runs, a Room keeps a row for each step: what it was found by, and which earlier step is the nearest to
// it. Two recipes, as package cache keeps them beside records, are compared only when somebody asks: by --explain, or
// later by Last. No value of a variable, an argument or a secret is in any of that.
package why
