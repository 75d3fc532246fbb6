// Package web gets files from URLs, and keeps them for later builds. A URL that is asked for again is revalidated
// (ETag, Last-Modified) and transferred only if it has changed; a file that is named by its checksum and is kept needs
// no network at all.
//
// Servers are hostile. A file has its name only once it is whole and its checksum has been checked, and memory doesn't
// grow with what a server sends. Credentials go to the host of the URL and nowhere else; they appear in no error, no
// file name and no file that is kept.
package web
