package tests_test

import (
	"os"
	"testing"
)

// ownedFile takes files out of mounts of the context with their owners, and writes to one of the mounts.
const ownedFile = `FROM base
RUN --mount=type=bind,target=/ro --mount=type=bind,target=/rw,rw --mount=type=bind,source=sub/f,target=/one \
  cp -a /ro/sub /x && cp -a /one /y && echo more >>/rw/sub/f && rm /rw/sub/g && \
  find /ro /rw /one /x /y /rw/sub/f | while read f; do stat -c "%u:%g %n" "$f"; done | grep -v ^0:0 >&2; \
  [ "$(stat -c %u:%g /x/f /x/g /x/link /y /rw /rw/sub/f | sort -u)" = 0:0 ]
`

// TestAsRootContextsInMountsBelongToRootOfTheStep builds with files of one other user, of several, and of the builder.
func TestAsRootContextsInMountsBelongToRootOfTheStep(t *testing.T) {
	var images sameImage
	eachMode(t, func(t *testing.T, m mode) {
		for name, owners := range map[string][2]int{"one": {4321, 4321}, "several": {4321, 4322}, "own": {m.UID, m.UID}} {
			s := newSite(t, m)
			s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
			s.busybox(t, "base")
			s.write(t, "ctx/Containerfile", ownedFile)
			s.write(t, "ctx/sub/f", "f")
			s.write(t, "ctx/sub/g", "g")
			if err := os.Symlink("f", s.path("ctx/sub/link")); err != nil {
				t.Fatal(err)
			}
			for path, owner := range map[string]int{"": owners[0], "/Containerfile": owners[0], "/sub": owners[0],
				"/sub/f": owners[0], "/sub/link": owners[0], "/sub/g": owners[1]} {
				gid := owner
				if owner == m.UID {
					gid = m.GID
				}
				if err := os.Lchown(s.path("ctx"+path), owner, gid); err != nil {
					t.Fatal(err)
				}
			}
			for flag := range namespaceFlags(m) {
				images.add(t, m.Name+" "+name+" "+flag, s.build(t, "-q", "--no-cache", flag, "ctx"))
			}
			s.checkNoLeftovers(t)
		}
	})
}
