// Package imagetar reads images from files: archives as docker save, podman save and cooper save write them, compressed
// or not, and the directories of skopeo's oci: and dir: transports.
//
// They are hostile. No member's name and no link leads to a file of the host: a member is bytes in the archive, found
// by its name alone. Whoever fetches a blob must verify it, as with every [content.Fetcher]. How much memory, disk and
// time an archive can take is bounded.
package imagetar
