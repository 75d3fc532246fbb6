package tests_test

import (
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// datedFile has what gets times: steps that write, a directory that is made, a config, a merge by --link.
const datedFile = `FROM localhost/base:latest AS one
ARG SOURCE_DATE_EPOCH
RUN mkdir /made && echo x >/made/file && touch -d @100 /old && touch -d @4000000000 /late && echo "$SOURCE_DATE_EPOCH" >/arg
FROM localhost/base:latest
LABEL a=b
WORKDIR /work
COPY --link file /linked
COPY --from=one /made /old /late /arg /work/
RUN ["/bin/sh", "-c", "rm /work/late; echo y >>/work/file"]
`

// madeLayers is how many layers datedFile adds to its base.
const madeLayers = 4

// TestATimestampMakesTheSameImageWhoeverBuilds has each mode build twice in stores of its own, with files of other
// times; the base is the same to the byte.
func TestATimestampMakesTheSameImageWhoeverBuilds(t *testing.T) {
	t.Parallel()
	made := map[string]map[string][]string{}
	for _, m := range suite.modes {
		for round := range 2 {
			s := newSite(t, m)
			s.env = append(s.env, "SOURCE_DATE_EPOCH=1000")
			s.busybox(t, "base")
			s.write(t, "ctx/Containerfile", datedFile)
			s.write(t, "ctx/file", "text")
			if round > 0 {
				s.run(t, "touch", "-d", "@1800000000", "ctx/file")
			}
			s.env = slices.DeleteFunc(s.env, func(v string) bool { return v == "SOURCE_DATE_EPOCH=1000" })
			for _, flag := range []string{"--timestamp=1700000000", "--timestamp=4100000000", "--source-date-epoch=1700000000"} {
				id := strings.TrimSpace(s.build(t, flag, "-o", "type=oci,dest=out.tar", "ctx"))
				if made[flag] == nil {
					made[flag] = map[string][]string{}
				}
				made[flag][id] = append(made[flag][id], m.Name)
				s.checkDates(t, flag)
			}
		}
	}
	for flag, ids := range made {
		if len(ids) != 1 {
			t.Errorf("%s: %v", flag, ids)
		}
	}
}

// checkDates looks at the times in out.tar, which was built with a flag.
func (s *site) checkDates(t *testing.T, flag string) {
	t.Helper()
	l := mustLayout(t, s.path("out.tar"))
	want := map[string]time.Time{
		"--timestamp=1700000000": time.Unix(1700000000, 0), "--timestamp=4100000000": time.Unix(4100000000, 0),
		"--source-date-epoch=1700000000": time.Unix(1700000000, 0),
	}[flag]
	if l.image.Created == nil || !l.image.Created.Equal(want) {
		t.Errorf("%s: made %v", flag, l.image.Created)
	}
	base := slices.IndexFunc(l.image.History, func(h ocispec.History) bool { return h.CreatedBy == "LABEL a=b" })
	for _, h := range l.image.History[base:] {
		if !h.Created.Equal(want) {
			t.Errorf("%s: %s made %v", flag, h.CreatedBy, h.Created)
		}
	}
	all, err := l.entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		at, limited := e.Header.ModTime, strings.HasPrefix(flag, "--source-date-epoch")
		switch {
		case e.Layer < len(l.layers)-madeLayers:
			if at.After(time.Unix(1000, 0)) {
				t.Errorf("%s: the base's %s is of %v", flag, e.Header.Name, at)
			}
		case strings.HasPrefix(path.Base(e.Header.Name), ".wh."): // what marks a deleted file has no time
		case limited && e.Header.Name == "work/old":
			if at.Unix() != 100 {
				t.Errorf("%s: an old file is of %v", flag, at)
			}
		case e.Header.Name == "work/arg" && limited != (e.Head == "1700000000\n"):
			t.Errorf("%s: a step saw the argument %q", flag, e.Head)
		case !at.Equal(want):
			t.Errorf("%s: %s is of %v", flag, e.Header.Name, at)
		}
	}
}

// TestATimestampIsThatOfPodman holds the records and the output of both against each other.
func TestATimestampIsThatOfPodman(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", strings.Replace(datedFile, "--link ", "", 1))
		s.write(t, "ctx/file", "text")
		ours, theirs := s.buildBoth(t, "ctx", "--timestamp=1700000000")
		if ours.Created != theirs.Created || ours.Created != "2023-11-14T22:13:20Z" {
			t.Errorf("cooper's image is of %s, podman's of %s", ours.Created, theirs.Created)
		}
		for _, image := range []described{ours, theirs} {
			last := image.History[len(image.History)-1]
			if last.Created != ours.Created {
				t.Errorf("%s was done %s", last.CreatedBy, last.Created)
			}
		}
		for _, name := range []string{"ours", "theirs"} {
			times := s.run(t, "podman", "run", "--rm", "--network=host", name, "stat", "-c", "%Y", "/bin/busybox")
			if strings.TrimSpace(times) == "1700000000" {
				t.Errorf("%s: the base has the time, too", name)
			}
		}
		s.build(t, "--timestamp=1700000000", "-o", "files", "ctx")
		if got := strings.TrimSpace(s.run(t, "stat", "-c", "%Y", "files/bin/busybox", "files/work/old")); got !=
			"1700000000\n1700000000" {
			t.Errorf("the output's files are of %s", got)
		}
		s.cooper(t, "build", "--timestamp=1", "--source-date-epoch=1", "ctx").fails(t, 2, "--timestamp",
			"--source-date-epoch")
	})
}
