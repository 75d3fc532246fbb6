// Package content reads images by the descriptors of what they are made of, whoever has them: manifests, indexes and
// configs of OCI and of Docker. It tells which of several images is for a platform, and reads OCI layouts; registries
// are read by the package above.
//
// Whoever has an image is hostile. [ReadImage] verifies manifests and configs and bounds their size; what
// [Fetcher.Fetch] gives must be read through [Verify], which lets no wrong byte pass as the end of the content.
package content
