package tests_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestHundredsOfSteps builds an image of more layers than a mount takes, 500; as root of more than a page has room for
// in the options of a mount. A tenth of the steps are commands, which take the most time.
func TestHundredsOfSteps(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		steps := 600
		if m.root() {
			steps = 150 // more than the options of one mount have room for
		}
		s := newSite(t, m)
		s.busybox(t, "base")
		var file strings.Builder
		file.WriteString("FROM base\n")
		for i := range steps {
			step := "COPY f%d /f%d\n"
			if i%10 == 0 {
				step = "RUN echo %d >/f%d\n"
			} else {
				s.write(t, fmt.Sprintf("ctx/f%d", i), fmt.Sprintln(i))
			}
			fmt.Fprintf(&file, step, i, i)
		}
		s.write(t, "ctx/Containerfile", file.String())
		id := s.build(t, "-t", "hundreds", "ctx")
		if again := s.build(t, "-t", "hundreds", "-o", "type=oci,dest=app.tar,compression=uncompressed", "ctx"); again != id {
			t.Errorf("the second build gave %s, not %s", again, id)
		}
		files := mustFiles(t, s.path("app.tar"))
		for _, i := range []int{0, 1, steps / 2, steps - 2, steps - 1} {
			if _, ok := files[fmt.Sprintf("f%d", i)]; !ok {
				t.Errorf("f%d is not in the image", i)
			}
		}
		s.write(t, "more/Containerfile",
			fmt.Sprintf("FROM hundreds\nRUN test $(ls /f* | wc -l) = %d && test $(cat /f77) = 77\n", steps))
		s.build(t, "more")
		s.checkNoLeftovers(t)
		if out := s.run(t, "sh", "-c", "podman run --rm hundreds cat /f140 >ran 2>/dev/null; cat ran"); out != "140\n" {
			t.Errorf("podman run printed %q", out)
		}
	})
}

// TestHundredThousandFiles copies them in, changes some, and copies them out of the stage. Root has a tenth of them:
// all that the number is to is the same.
func TestHundredThousandFiles(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		dirs := 100
		if m.root() {
			dirs = 10
		}
		s := newSite(t, m)
		s.busybox(t, "base")
		for d := range dirs {
			dir := fmt.Sprintf("ctx/files/%d", d)
			s.mkdir(t, dir)
			for i := range 1000 {
				if err := os.WriteFile(s.path(fmt.Sprintf("%s/%d", dir, i)), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.write(t, "ctx/Containerfile", `FROM base AS all
COPY files /files
RUN rm -r /files/7 && echo changed >/files/8/8
FROM scratch
COPY --from=all /files/8 /eight
`)
		id := s.build(t, "-t", "many", "-o", "type=oci,dest=app.tar,compression=uncompressed", "ctx")
		if again := s.build(t, "ctx"); again != id {
			t.Errorf("the second build gave %s, not %s", again, id)
		}
		if n := len(mustFiles(t, s.path("app.tar"))); n != 1001 {
			t.Errorf("%d entries, not 1001", n)
		}
		s.build(t, "--target", "all", "-o", "type=oci,dest=all.tar,compression=uncompressed", "ctx")
		count := 0
		for name := range mustFiles(t, s.path("all.tar")) {
			if strings.HasPrefix(name, "files/") {
				count++
			}
		}
		if want := (dirs - 1) * 1001; count != want {
			t.Errorf("%d entries below files, not %d", count, want)
		}
		s.checkNoLeftovers(t)
	})
}

// TestFourGigabyteFile needs little room: only a few blocks of the file are not holes.
func TestFourGigabyteFile(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.busybox(t, "base")
	const size = 4<<30 + 12345
	s.mkdir(t, "ctx")
	f, err := os.Create(s.path("ctx/big"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for _, at := range []int64{0, 1 << 30, 4<<30 - 2048, size - 4096} {
		if _, err := rand.Read(block); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(block, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.write(t, "ctx/Containerfile", "FROM base\nCOPY big /big\nRUN test $(stat -c %s /big) = 4294979641\n")
	cmd := s.command(suite.cooper, "build", "-t", "big", "ctx")
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	peak := s.watchMemory()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, tail(errs.String()))
	}
	if mib := peak() >> 10; mib < 5 || mib > 100 {
		t.Errorf("it took %d MiB of memory", mib)
	}
	s.checkNoLeftovers(t)
}

// watchMemory looks at how much memory cooper's processes have used at most, until the function it returns is called,
// which gives the largest in KiB. (The kernel's own figure for a child includes that of the process it was forked
// from.)
func (s *site) watchMemory() (peak func() int) {
	stop, result := make(chan struct{}), make(chan int)
	go func() {
		most := 0
		for {
			for _, pid := range s.processes() {
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
				if _, rest, ok := strings.Cut(string(text), "VmHWM:"); err == nil && ok {
					var kib int
					if _, err := fmt.Sscan(rest, &kib); err == nil {
						most = max(most, kib)
					}
				}
			}
			select {
			case <-stop:
				result <- most
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() int { close(stop); return <-result }
}

// TestOddNames copies names that break programs which believe that names are words.
func TestOddNames(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		long := strings.Repeat("p", 100) + "/" + strings.Repeat("q", 100) + "/" + strings.Repeat("r", 100) + "/end"
		names := []string{
			"a space", " leading", "trailing ", "new\nline", "tab\there", "back\\slash", "quote\"and'", "$VAR", "*", "?", "[a]",
			"{b}", "-dash",
			"not-utf8-\xff\xfe", "\u00e4\u6f22\U0001F40B", strings.Repeat("n", 255), strings.Repeat("\u00e4", 127), "%s%n",
			"#hash", ".hidden", "..x",
			"\x01\x7f", long, ".wh", "wh.x", "=equal", "a:b",
		}
		for _, n := range names {
			s.write(t, "ctx/odd/"+n, "content of "+n)
		}
		s.write(t, "ctx/Containerfile",
			"FROM base\nCOPY odd /odd\nRUN cp -a /odd /inside\nCOPY [\"odd/a space\", \"odd/ leading\", \"/two words/\"]\n"+
				"FROM base\nCOPY --from=0 /inside /again\nCOPY --from=0 [\"/two words\", \"/two words\"]\n")
		s.build(t, "-t", "odd", "-o", "type=oci,compression=uncompressed,dest=app.tar", "ctx")
		files := mustFiles(t, s.path("app.tar"))
		for _, n := range names {
			if e, ok := files["again/"+n]; !ok || e.Header.Size != int64(len("content of "+n)) {
				t.Errorf("%q: %s", n, e.stringOrNone(ok))
			}
		}
		for _, n := range []string{"two words/a space", "two words/ leading"} {
			if _, ok := files[n]; !ok {
				t.Errorf("%q is not in the image", n)
			}
		}
		s.checkNoLeftovers(t)
		s.checkStore(t, "odd")
	})
}
