// Package dockerfile reads Dockerfiles and says what is wrong with them.
//
// [Parse] turns the text into typed instructions with source locations; the BuildKit parser packages do the reading and
// the linting. Every error is an *[Error]: the file and line, the line itself, what is wrong and what would be right.
// No input makes the package panic.
package dockerfile
