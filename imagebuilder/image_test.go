package imagebuilder_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

const full = `{"created":"2024-05-06T07:08:09Z","author":"a","architecture":"arm","os":"linux","variant":"v7",` +
	`"config":{"User":"u:g","ExposedPorts":{"80/tcp":{}},"Env":["A=1"],"Entrypoint":["e"],"Cmd":["c"],"Volumes":{"/v":{}},` +
	`"WorkingDir":"/w","Labels":{"k":"v"},"StopSignal":"INT","StopTimeout":3,"Healthcheck":{"Test":["CMD","x"],` +
	`"Interval":1,"Timeout":2,"StartPeriod":3,"StartInterval":4,"Retries":5},"OnBuild":["RUN o"],"Shell":["sh"]},` +
	`"rootfs":{"type":"layers","diff_ids":["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]},` +
	`"history":[{"created_by":"x"},{"created_by":"y","empty_layer":true}]}`

func parse(t *testing.T, text string) imagebuilder.Image {
	t.Helper()
	i, err := imagebuilder.ParseImage([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestConfigSurvivesParsingAndWriting(t *testing.T) {
	i := parse(t, full)
	text, err := i.MarshalConfig(i.DiffIDs, *i.Created, i.History)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != full {
		t.Errorf("got\n%s\nwant\n%s", text, full)
	}
}

func TestWrittenConfigHasNoNullsAndChecksTheHistory(t *testing.T) {
	i := imagebuilder.Scratch(ocispec.Platform{OS: "linux", Architecture: "amd64"})
	text, err := i.MarshalConfig(nil, time.Time{}, nil)
	if want := `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`; err != nil ||
		string(text) != want {
		t.Errorf("got %s %v", text, err)
	}
	if _, err := i.MarshalConfig([]digest.Digest{digest.FromString("x")}, time.Time{},
		[]imagebuilder.History{{EmptyLayer: true}}); err == nil {
		t.Error("a history without the layer is accepted")
	}
}

func TestParseRefusesWhatIsNoConfig(t *testing.T) {
	for _, text := range []string{"", "[]", "{", `{"config":{"Env":1}}`, `{"rootfs":{"diff_ids":["../x"]}}`} {
		if _, err := imagebuilder.ParseImage([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// draft gives what becomes of an image in a draft.
func draft(change func(*imagebuilder.Draft)) func(imagebuilder.Image) imagebuilder.Image {
	return func(i imagebuilder.Image) imagebuilder.Image {
		d := imagebuilder.Draft{Image: i}
		change(&d)
		return d.Share()
	}
}

// changes are all the methods that give a changed copy.
func changes() map[string]func(imagebuilder.Image) imagebuilder.Image {
	type image = imagebuilder.Image
	return map[string]func(image) image{
		"env new":     draft(func(d *imagebuilder.Draft) { d.SetEnv("B", "2") }),
		"env old":     draft(func(d *imagebuilder.Draft) { d.SetEnv("A", "2") }),
		"label":       draft(func(d *imagebuilder.Draft) { d.SetLabel("k", "w") }),
		"labels":      func(i image) image { return i.WithLabels(map[string]string{"k": "w", "l": "m"}) },
		"cmd":         func(i image) image { return i.WithCmd([]string{"d"}) },
		"entrypoint":  func(i image) image { return i.WithEntrypoint(nil) },
		"ports":       draft(func(d *imagebuilder.Draft) { d.ExposePorts("80/tcp", "81/tcp") }),
		"volumes":     draft(func(d *imagebuilder.Draft) { d.AddVolumes("/x") }),
		"user":        func(i image) image { return i.WithUser("") },
		"workdir":     func(i image) image { return i.WithWorkdir("../x") },
		"signal":      func(i image) image { return i.WithStopSignal("9") },
		"healthcheck": func(i image) image { return i.WithHealthcheck(imagebuilder.Healthcheck{Test: []string{"NONE"}}) },
		"shell":       func(i image) image { return i.WithShell([]string{"bash"}) },
		"onbuild":     draft(func(d *imagebuilder.Draft) { d.AddOnBuild("RUN p") }),
		"no onbuild":  func(i image) image { return i.WithoutOnBuild() },
		"author":      func(i image) image { return i.WithAuthor("b") },
		"clone": func(i image) image {
			c := i.Clone()
			c.Config.Env[0], c.Config.Labels["k"], c.Config.Healthcheck.Test[0] = "X=1", "x", "x"
			*c.Config.StopTimeout = 9
			c.Config.ExposedPorts["1/tcp"], c.Config.Volumes["/z"] = struct{}{}, struct{}{}
			c.Config.Cmd[0], c.Config.Entrypoint[0], c.Config.OnBuild[0], c.Config.Shell[0] = "x", "x", "x", "x"
			return c
		},
	}
}

func TestChangesLeaveTheOriginalAlone(t *testing.T) {
	for name, change := range changes() {
		t.Run(name, func(t *testing.T) {
			i := parse(t, full)
			changed := change(i)
			if reflect.DeepEqual(changed, i) {
				t.Error("nothing changed")
			}
			change(i)
			if want := parse(t, full); !reflect.DeepEqual(i, want) {
				t.Errorf("the original is now %+v", i)
			}
		})
	}
}

func TestWhatADraftHasSharedStaysAsItWas(t *testing.T) {
	d := imagebuilder.Draft{Image: parse(t, full)}
	add := func(text string) {
		d.SetEnv("C", text)
		d.SetEnv("N"+text, text)
		d.SetLabel("l", text)
		d.ExposePorts(text + "/tcp")
		d.AddVolumes("/" + text)
		d.AddOnBuild("RUN " + text)
	}
	add("1")
	first := d.Share()
	want := first.Clone()
	add("2")
	if !reflect.DeepEqual(first, want) {
		t.Errorf("the image that was shared is now %+v", first)
	}
	if v, _ := d.Env("C"); v != "2" || d.Config.Labels["l"] != "2" || len(d.Config.OnBuild) != len(first.Config.OnBuild)+
		1 {
		t.Errorf("the draft is %+v", d.Config)
	}
}

func TestADraftCopiesOnceForManyChanges(t *testing.T) {
	d := imagebuilder.Draft{Image: parse(t, full)}
	copied := 0
	for n := range 10_000 {
		copied += d.SetEnv(fmt.Sprintf("V%d", n), "x") + d.SetLabel(fmt.Sprintf("l%d", n), "x") + d.AddOnBuild("RUN x")
	}
	if held := parse(t, full).Held(); copied != held {
		t.Errorf("%d bytes were copied, not %d", copied, held)
	}
	d.Share()
	if again := d.SetEnv("V0", "y"); again < 20_000*16 || d.SetEnv("V1", "y") != 0 {
		t.Errorf("%d bytes were copied after the draft was shared", again)
	}
	if v, _ := d.Env("V0"); v != "y" {
		t.Errorf("V0 is %q", v)
	}
}

func TestWorkdirIsResolved(t *testing.T) {
	for _, tt := range [][3]string{
		{"", "a", "/a"}, {"/w", "a", "/w/a"}, {"w", "a", "/w/a"}, {"/w", "/b/", "/b"}, {"/w", "..", "/"},
		{"/w", "../../x", "/x"}, {"/w", "", "/w"}, {"/w", ".", "/w"},
	} {
		i := imagebuilder.Image{Config: imagebuilder.Config{WorkingDir: tt[0]}}.WithWorkdir(tt[1])
		if i.Config.WorkingDir != tt[2] || i.Dir() != tt[2] {
			t.Errorf("%q then %q: got %q", tt[0], tt[1], i.Config.WorkingDir)
		}
	}
}

func TestPorts(t *testing.T) {
	tests := []struct{ word, want string }{
		{"80", "80/tcp"}, {"80/", "80/tcp"}, {"53/udp", "53/udp"}, {"5-7/SCTP", "5/sctp 6/sctp 7/sctp"}, {"0", "0/tcp"},
		{"65535", "65535/tcp"},
		{"8080:80", "80/tcp"}, {"127.0.0.1:8080:80", "80/tcp"}, {"[::1]:8080:80", "80/tcp"}, {"127.0.0.1::80", "80/tcp"},
		{"1-2:1-2", "1/tcp 2/tcp"},
		{"", ""}, {"x", ""}, {"-1", ""}, {"65536", ""}, {"2-1", ""}, {"1-", ""}, {"80/tcpp", ""}, {"1.2.3:1:80", ""},
		{"1-3:1-2", ""}, {"a:80", ""},
		{"99999999999999999999", ""},
	}
	for _, tt := range tests {
		p, err := imagebuilder.ParsePorts(tt.word)
		if got := strings.Join(p.Keys, " "); got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q: got %q, %v", tt.word, got, err)
		}
	}
}

func TestSignals(t *testing.T) {
	good := []string{"SIGTERM", "term", "SigKill", "9", "64", "RTMIN", "SIGRTMIN+3", "RTMAX-30", "USR1"}
	bad := []string{"", "SIG", "0", "-9", "65", "FOO", "RTMIN+31", "RTMIN+", "RTMAX--1", "RTMIN++1", "TERM "}
	for _, s := range slices.Concat(good, bad) {
		if err := imagebuilder.CheckSignal(s); (err == nil) != slices.Contains(good, s) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestHealthcheckDurationsAreNanoseconds(t *testing.T) {
	text, err := json.Marshal(imagebuilder.Healthcheck{Interval: 2 * time.Second})
	if err != nil || string(text) != `{"Interval":2000000000}` {
		t.Errorf("got %s %v", text, err)
	}
}
