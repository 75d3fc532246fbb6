package tests_test

import (
	"fmt"
	"io/fs"
	"os"
	"testing"
)

// umaskFile shows a user who isn't root all that is made for a step, and puts all ways to make files into an image.
const umaskFile = busyboxfile + `WORKDIR /w/x/y
COPY More etc/passwd made/by/copy/
COPY --link More /linked/by/copy/
ADD --chmod=640 archive.tar /made/by/add/
COPY --parents etc/./passwd /parents/
COPY <<EOT /made/by/heredoc
text
EOT
FROM scratch AS empty
FROM 0 AS used
RUN test "$(umask)" = 0022 && mkdir /by-run && echo >/by-run/f
RUN mkdir -m 700 /private
USER 1000
RUN stat -c %a / /w /w/x /tmp /dev /dev/shm /etc/hosts /etc/resolv.conf >/tmp/modes
RUN --mount=target=/m,source=etc test "$(stat -c %a /m)" = 755 && cat /m/passwd >/dev/null
RUN --mount=target=/m test "$(stat -c %a /m)" = 755 && cat /m/etc/passwd >/dev/null
RUN --mount=target=/m,rw test "$(stat -c %a /m)" = 755 && cat /m/etc/passwd >/dev/null
RUN --mount=target=/m/deep/er/m cat /m/deep/er/m/etc/passwd >/dev/null
RUN --mount=target=/f,source=etc/passwd,rw cat /f >/dev/null
RUN --mount=target=/m,from=empty test "$(stat -c %a /m)" = 755
RUN --mount=target=/m,from=tar cat /m/More >/dev/null
RUN --mount=target=/m,from=tar,rw cat /m/More >/dev/null && stat -c %a /m >/tmp/tar
RUN --mount=type=cache,target=/c test "$(stat -c %a /c)" = 755
RUN --mount=type=cache,target=/c,mode=0777 touch /c/x && test "$(stat -c %a /c/x)" = 644
RUN --mount=type=tmpfs,target=/t touch /t/x && test "$(stat -c '%a' /t)" = 1777
RUN --mount=type=tmpfs,target=/private test "$(stat -c '%a' /private)" = 700
RUN --mount=type=secret,id=s,mode=0444,target=/deep/er/secret cat /deep/er/secret
RUN <<EOT
touch /tmp/heredoc
EOT
`

// TestUmaskOfTheCallerIsInNoImage builds with three umasks, and with the strictest in all ways that there are to keep
// layers and run steps: the images are the same, and what is written beside them has the permissions that the umask
// leaves.
func TestUmaskOfTheCallerIsInNoImage(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		first := ""
		for i, umask := range []fs.FileMode{0o022, 0o077, 0} {
			if i > 0 && !m.takes(i) {
				continue
			}
			s := newSite(t, m)
			s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000", "SECRET=word")
			if err := s.makeBusybox(); err != nil {
				t.Fatal(err)
			}
			s.write(t, "busybox/More", umaskFile)
			s.write(t, "busybox/.dockerignore", "nothing\n")
			s.run(t, "tar", "-C", "busybox", "--mtime=@1", "-cf", "archive.tar", "etc", "More")
			text, err := os.ReadFile(s.path("archive.tar"))
			if err != nil {
				t.Fatal(err)
			}
			s.write(t, "busybox/archive.tar", string(text))
			build := func(args ...string) {
				t.Helper()
				args = append([]string{"-c", fmt.Sprintf(`umask %03o; exec "$@"`, umask), "sh", suite.cooper, "build", "-q",
					"--no-cache", "-f", "busybox/More",
					"--build-context", "tar=archive.tar", "--secret", "id=s,env=SECRET", "--iidfile", "id"}, args...)
				s.run(t, "sh", append(args, "busybox")...)
				id, err := os.ReadFile(s.path("id"))
				if err != nil {
					t.Fatal(err)
				}
				if first == "" {
					first = string(id)
				}
				if string(id) != first {
					t.Errorf("umask %03o: %q gives %s, not %s", umask, args, id, first)
				}
			}
			build("-o", "type=oci,dest=app.tar", "-o", "type=tar,dest=files.tar", "-o", "type=oci,dest=layout,tar=false",
				"--metadata-file", "meta")
			for name, full := range map[string]fs.FileMode{
				"id": 0o666, "meta": 0o666, "app.tar": 0o666, "files.tar": 0o666, "layout": 0o777, "layout/index.json": 0o666,
				"layout/blobs/sha256": 0o777,
			} {
				info, err := os.Stat(s.path(name))
				if err != nil || info.Mode().Perm() != full&^umask {
					t.Errorf("umask %03o: %s: %v, %v", umask, name, info, err)
				}
			}
			if umask != 0o077 {
				continue
			}
			second := "--userns=keep-id"
			if m.root() {
				second = "--userns=auto"
			}
			build(second)
			build("--runtime=runc")
			for _, d := range driversOf(t, m)[1:] {
				build(append(d.args, "--root", s.path(d.name), "--runroot", s.path("run/"+d.name))...)
			}
			s.checkNoLeftovers(t)
		}
	})
}
