// Package fileop carries out COPY, ADD of local files and WORKDIR: it writes files into a layer directory.
//
// # Meaning
//
// The rules are those of docker (BuildKit), so that a Dockerfile means the same here:
//
//   - a directory as source means its contents; its own name, mode and owner are not copied. A destination directory
//     that
//     exists keeps its attributes, one that doesn't is made 0755. Directories further down get the source's attributes,
//     whether they exist or not.
//   - the destination is followed through symlinks, the last component too, inside the image's root. A file that a
//     directory copy or a destination ending in "/" puts in place of an existing symlink replaces the symlink.
//   - a file never replaces a directory, nor a directory a file.
//   - several sources need a destination that ends in "/" or that is a directory already, unless they are directories.
//   - new directories belong to 0:0 or to --chown; files of a context too; files of a stage or an image keep their
//     owner.
//   - --chmod holds for files and directories copied and, in octal and without its special bits, for directories made
//     for
//     the destination; not for what an archive holds, nor for its destination. --chown holds for all of these.
//   - with --parents a directory on the way to what is copied gets the source's attributes; one that exists gets the
//     mode only.
//   - a device node in a source needs real root; one in an archive is left out, and counted, where there is none.
//   - a socket becomes an empty file. A character device 0:0 and a name starting with ".wh." would be deletions in a
//     layer; they
//     are refused.
//
// # Writing below an overlay
//
// The layer directory becomes the upper directory of an overlay mount, but isn't mounted while it is written. So this
// package itself does what overlayfs would: a directory of the parent that is written into is made in the layer with
// the parent's attributes. Extended attributes that steer overlayfs are never copied from a source.
//
// # Trust
//
// The source, the parent's tree and every archive are hostile. No path is resolved by the kernel over more than one
// component: directories are held open, names are opened with O_NOFOLLOW, and symlinks are followed by this package
// inside the root they belong to. If a file is exchanged meanwhile, that is an error, or the new file is copied; never
// a file outside of the root.
//
// One room: COPY, ADD and unpacking write to one tree, by the same rules for links, owners and existing files. Below a
// hostile root none of them may get at a file but through it.
package fileop
