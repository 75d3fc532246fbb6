package tests_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inspected is what an inspect of a tool says of the first image.
func inspected(t *testing.T, text string) map[string]any {
	t.Helper()
	var all []map[string]any
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) == 0 {
		t.Fatalf("%v in %s", err, tail(text))
	}
	for _, names := range []string{"RepoTags", "RepoDigests", "NamesHistory"} {
		if list, ok := all[0][names].([]any); ok {
			slices.SortFunc(list,
				func(a, b any) int { return strings.Compare(a.(string), b.(string)) }) //nolint:forcetypeassert // names
		}
	}
	return all[0]
}

// TestImagesAreInspectedAsPodmanDoes inspects images of cooper's, podman's and buildah's making.
func TestImagesAreInspectedAsPodmanDoes(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.manyImages(t)
		// An image of its own: of one that gets another manifest podman shows the digest of the first.
		s.build(t, "--format", "docker", "--label", "format=docker", "-t", "dockers", "app")
		s.write(t, "bare/Containerfile", "FROM scratch\nLABEL a=<b>\n")
		s.build(t, "-t", "bare", "bare")
		for _, name := range []string{"app:1", "bypodman", "bybuildah", "dockers", "base"} {
			ours, theirs := inspected(t, s.mustCooper(t, "inspect", name)), inspected(t, s.run(t, "podman", "inspect", name))
			config, ok := ours["Config"].(map[string]any)
			if !ok {
				t.Fatalf("%s has no config: %v", name, ours)
			}
			if name == "app:1" && config["Healthcheck"] == nil {
				t.Error("the config has no Healthcheck, where docker has it")
			}
			if d, ok := ours["Descriptor"].(map[string]any); !ok || d["digest"] != ours["Digest"] ||
				d["mediaType"] != ours["ManifestType"] || ours["DockerVersion"] != ours["Version"] {
				t.Errorf("docker's fields are %v and %v", ours["Descriptor"], ours["DockerVersion"])
			}
			delete(ours, "Descriptor")
			delete(ours, "DockerVersion")
			if name == "app:1" && theirs["Healthcheck"] == nil { // podman knows one in docker's format alone
				delete(ours, "Healthcheck")
			}
			for _, dockers := range []string{"Healthcheck", "OnBuild", "Shell"} {
				delete(config, dockers)
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("podman's description of %s (-) and cooper's (+) differ:\n%s", name, diff)
			}
		}
		// All at once, for each question takes podman longer than the answer.
		formats := strings.Join([]string{
			"{{.Config.Env}}", "{{.RepoDigests}}", "{{.Id}} {{.Digest}}", `{{index .Config.Labels "org.example.team"}}`,
			"{{json .Config.Entrypoint}}", "{{.RootFS.Layers}}", "{{.Os}}/{{.Architecture}}", "{{len .History}}", "{{.Size}}",
			"{{range .Config.Env}}{{.}},{{end}}", "{{.GraphDriver.Name}}",
		}, "\n")
		if diff := cmp.Diff(strings.Split(s.run(t, "podman", "inspect", "-f", formats, "app:1"), "\n"),
			strings.Split(s.mustCooper(t, "inspect", "-f", formats, "app:1"), "\n")); diff != "" {
			t.Errorf("podman's answers (-) and cooper's (+) to\n%s\ndiffer:\n%s", formats, diff)
		}
		if out := s.mustCooper(t, "inspect", "bare"); !strings.Contains(out, `"a": "<b>"`) {
			t.Errorf("an image without layers is %s", out)
		}
		r := s.cooper(t, "inspect", "--format", "{{.Os}}", "app:1", "ap:1")
		if r.Code != 1 || r.Stdout != "linux\n" ||
			!strings.Contains(r.Stderr, "ap:1: no such image in the store\nhint: did you mean app:1?") {
			t.Errorf("one that is there and one that isn't: status %d, %q, %q", r.Code, r.Stdout, r.Stderr)
		}
		s.checkNoLeftovers(t)
	})
}

// TestAnIndexIsInspectedForAPlatform makes an index of two images and inspects each.
func TestAnIndexIsInspectedForAPlatform(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "two/Containerfile", "FROM scratch\nCOPY f /\n")
		s.write(t, "two/f", "f")
		s.build(t, "-t", "two", "--platform", "linux/amd64,linux/arm64", "two")
		for _, arch := range []string{"amd64", "arm64"} {
			got := s.mustCooper(t, "inspect", "-f", "{{.Architecture}}", "--platform", "linux/"+arch, "two")
			if strings.TrimSpace(got) != arch {
				t.Errorf("for %s it is for %s", arch, got)
			}
			if out := s.mustCooper(t, "history", "--platform", "linux/"+arch, "two"); !strings.Contains(out, "COPY f /") {
				t.Errorf("the history for %s is %s", arch, out)
			}
		}
		id := strings.TrimSpace(s.mustCooper(t, "inspect", "-f", "{{.Id}}", "--platform", "linux/arm64", "two"))
		r := s.cooper(t, "inspect", "--platform", "linux/s390x", id)
		if r.Code != 1 || !strings.Contains(r.Stderr, "is for linux/arm64/v8, not for linux/s390x") &&
			!strings.Contains(r.Stderr, "is for linux/arm64, not for linux/s390x") {
			t.Errorf("for a platform that it isn't for: %d, %s", r.Code, r.Stderr)
		}
	})
}

func TestHistoriesAreThoseThatPodmanShows(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.manyImages(t)
		for _, name := range []string{"app:1", "bypodman", "bybuildah"} {
			args := []string{"history", "--no-trunc", "--format", "{{.CreatedBy}} ({{.Comment}})", name}
			if got, want := s.mustCooper(t, args...), s.run(t, "podman", args...); got != want {
				t.Errorf("cooper %s:\n%spodman has\n%s", strings.Join(args, " "), got, want)
			}
			var ours, theirs []struct {
				Size      int64
				Created   string
				CreatedBy string
			}
			for tool, into := range map[string]any{
				s.mustCooper(t, "history", "--format", "json", name):    &ours,
				s.run(t, "podman", "history", "--format", "json", name): &theirs,
			} {
				if err := json.Unmarshal([]byte(strings.ReplaceAll(tool, `"Created":`, `"-":`)), into); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("podman's history of %s (-) and cooper's (+) differ:\n%s", name, diff)
			}
			ids := strings.Fields(s.mustCooper(t, "history", "-q", name))
			id := strings.TrimSpace(s.mustCooper(t, "inspect", "-f", "{{.Id}}", name))
			if len(ids) != len(ours) || !strings.HasPrefix(id, ids[0]) {
				t.Errorf("the IDs of %s are %q", name, ids)
			}
		}
		// The step that made the base has the base's ID.
		base := strings.TrimSpace(s.mustCooper(t, "inspect", "-f", "{{.Id}}", "base"))
		if out := s.mustCooper(t, "history", "-q", "--no-trunc", "app:1"); !strings.Contains(out, base) {
			t.Errorf("the base %s is not in\n%s", base, out)
		}
		head, _, _ := strings.Cut(s.mustCooper(t, "history", "app:1"), "\n")
		if strings.Join(strings.Fields(head), " ") != "IMAGE CREATED CREATED BY SIZE COMMENT" {
			t.Errorf("the headings are %q", head)
		}
		if out := s.mustCooper(t, "history", "--human=false", "--format", "{{.Size}} {{.CreatedSince}}",
			"base"); !strings.Contains(out,
			"T") || strings.Contains(out, "B ") {
			t.Errorf("for programs it is\n%s", out)
		}
		s.checkNoLeftovers(t)
	})
}

// TestNamesOfImagesAreCompleted asks as shells do.
func TestNamesOfImagesAreCompleted(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		if out := s.mustCooper(t, "__complete", "rmi", ""); !strings.HasPrefix(out, ":") {
			t.Errorf("without a store there is %q", out)
		}
		s.busybox(t, "base")
		s.mustCooper(t, "tag", "base", "quay.io/team/app:1")
		for words, want := range map[string]string{
			"inspect b": "base:latest base", "rmi quay": "quay.io/team/app:1", "history base b": "",
			"tag base quay.io/": "quay.io/team/app:1", "push ba": "base:latest base",
			"untag l":  "localhost/base:latest localhost/base",
			"images q": "quay.io/team/app:1",
		} {
			out := strings.Fields(s.mustCooper(t, append([]string{"__complete"}, strings.Fields(words)...)...))
			if got := strings.Join(out[:len(out)-1], " "); got != want {
				t.Errorf("%s is completed by %q, not %q", words, got, want)
			}
		}
	})
}
