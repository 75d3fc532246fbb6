// Package joined has the user namespaces that somebody else has made: it opens them for steps that join them, and reads
// their maps.
package joined
