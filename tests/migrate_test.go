package tests_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// newcomer is a user who comes from another tool: cooper is in PATH, and a registry on this machine is the one that the
// pages name.
type newcomer struct {
	*site
	registry string
}

// newNewcomer gives the newcomer a project.
func newNewcomer(t *testing.T, m mode) newcomer {
	t.Helper()
	s := newSite(t, m)
	f := s.certify(t)
	f.serve(t, []string{"docker-registry", "serve"}, "")
	s.mkdir(t, "bin")
	s.run(t, "ln", "-s", suite.cooper, "bin/cooper")
	s.env = append(s.env, "SSL_CERT_FILE="+s.path("certs/ca.crt"),
		"PATH="+s.path("bin")+":"+os.Getenv("PATH"), "HOME="+s.path("home"), "DOCKER_CONFIG="+s.path("home/.docker"))
	s.busybox(t, "base")
	s.build(t, "-t", "base", "busybox")
	s.write(t, "ctx/Dockerfile", "FROM localhost/base AS build\nARG VERSION=1\nRUN echo $VERSION >/version\nFROM build\nCOPY f /\n")
	s.write(t, "ctx/f", "f")
	s.write(t, "ctx/docker-bake.hcl", `target "default" {
  inherits = ["app"]
}
target "app" {
  tags = ["app"]
}
`)
	return newcomer{s, f.address}
}

// sh runs a shell line in the project.
func (n newcomer) sh(t *testing.T, line string) string {
	t.Helper()
	return n.run(t, "sh", "-c", "cd ctx && "+strings.ReplaceAll(line, "registry.example.com", n.registry))
}

// lines runs the lines of a page that begin with a prompt, and counts them.
func (n newcomer) lines(t *testing.T, page string) (count int) {
	t.Helper()
	text, err := os.ReadFile("../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if args, ok := strings.CutPrefix(line, "    $ "); ok {
			n.sh(t, strings.TrimSpace(args))
			count++
		}
	}
	return count
}

// dockerStandIn runs the plugin as docker 28 does, on machines that haven't got docker.
const dockerStandIn = `#!/bin/sh
case $1 in
buildx) exec "$DOCKER_CONFIG/cli-plugins/docker-buildx" "$@" ;;
build) exec "$DOCKER_CONFIG/cli-plugins/docker-buildx" buildx "$@" ;;
esac
echo "docker: no $1 here" >&2
exit 125
`

func TestTheCommandsForDockersUsersWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		n := newNewcomer(t, m)
		if _, err := exec.LookPath("docker"); err != nil {
			n.write(t, "bin/docker", dockerStandIn)
			n.run(t, "chmod", "755", "bin/docker")
		}
		if count := n.lines(t, "migrate-from-docker.md"); count < 12 {
			t.Errorf("there are %d commands", count)
		}
		if names := strings.Join(n.names(t), " "); !strings.Contains(names, "localhost/app:latest") {
			t.Errorf("the store has %s", names)
		}
	})
}

func TestTheCommandsForKanikosUsersWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		n := newNewcomer(t, m)
		if count := n.lines(t, "migrate-from-kaniko.md"); count < 7 {
			t.Errorf("there are %d commands", count)
		}
		for _, tag := range []string{"1", "2", "3"} {
			n.run(t, "skopeo", "inspect", "--cert-dir", n.path("certs"), "docker://"+n.registry+"/team/app:"+tag)
		}
	})
}

func TestTheCommandsForBuildahsUsersWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		n := newNewcomer(t, m)
		n.env = append(n.env, "PATH="+n.path("home/.local/bin")+":"+n.path("bin")+":"+os.Getenv("PATH"))
		if count := n.lines(t, "migrate-from-buildah.md"); count < 23 {
			t.Errorf("there are %d commands", count)
		}
		n.run(t, "skopeo", "inspect", "--cert-dir", n.path("certs"), "docker://"+n.registry+"/team/greeter:all")
	})
}

func TestTheCommandsForPodmansUsersWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		n := newNewcomer(t, m)
		if count := n.lines(t, "migrate-from-podman.md"); count < 18 {
			t.Errorf("there are %d commands", count)
		}
		n.run(t, "skopeo", "inspect", "--cert-dir", n.path("certs"), "docker://"+n.registry+"/team/app:1")
	})
}

// template reads a file of contrib/ci.
func template(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../contrib/ci/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// tektonTask is what is read of a task.
type tektonTask struct {
	Spec struct {
		Params []struct {
			Name    string
			Default any
		}
		Steps []struct {
			Script        string
			Command, Args []string
		}
	}
}

// with gives a text the values of parameters, results and the workspace as Tekton does.
func (k tektonTask) with(n newcomer, image, text string) string {
	pairs := []string{"$(params.IMAGE)", image, "$(workspaces.source.path)", n.path("ctx"),
		"$(results.IMAGE_DIGEST.path)", n.path("ctx/digest"), "$(results.IMAGE_URL.path)", n.path("ctx/url"),
		"/tmp/image-digest", n.path("ctx/image-digest")}
	for _, p := range k.Spec.Params {
		pairs = append(pairs, "$(params."+p.Name+")", fmt.Sprint(p.Default))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func TestTheJobsOfOtherBuildersWork(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		n := newNewcomer(t, m)
		n.run(t, "ln", "-s", suite.cooper, "bin/buildah")

		var task tektonTask
		template(t, "tekton-kaniko.yaml", &task)
		step := task.Spec.Steps[0]
		words := step.Command
		for _, arg := range step.Args {
			if arg != "$(params.EXTRA_ARGS[*])" {
				words = append(words, task.with(n, n.registry+"/kaniko/app:1", arg))
			}
		}
		n.sh(t, strings.Join(words, " "))
		n.sh(t, task.with(n, n.registry+"/kaniko/app:1", task.Spec.Steps[1].Script))

		task = tektonTask{}
		template(t, "tekton-buildah.yaml", &task)
		n.sh(t, task.with(n, n.registry+"/buildah/app:1", task.Spec.Steps[0].Script))
		if digest := n.read(t, "ctx/digest"); !strings.HasPrefix(digest, "sha256:") {
			t.Errorf("the digest is %q", digest)
		}

		var gitlab struct{ Build struct{ Script []string } }
		template(t, "gitlab-kaniko.yml", &gitlab)
		n.env = append(n.env, "CI_PROJECT_DIR="+n.path("ctx"), "CI_REGISTRY="+n.registry, "CI_REGISTRY_USER=u",
			"CI_REGISTRY_PASSWORD=p", "CI_REGISTRY_IMAGE="+n.registry+"/gitlab/app", "CI_COMMIT_TAG=1")
		n.sh(t, strings.Join(gitlab.Build.Script, "\n"))

		for _, image := range []string{"kaniko", "buildah", "gitlab"} {
			n.run(t, "skopeo", "inspect", "--cert-dir", n.path("certs"), "docker://"+n.registry+"/"+image+"/app:1")
		}
		n.github(t)
	})
}

// github does what the steps of the workflow with docker's action do.
func (n newcomer) github(t *testing.T) {
	t.Helper()
	var flow struct {
		Jobs map[string]struct {
			Steps []struct {
				Name, Run, Uses string
				With            map[string]any
			}
		}
	}
	template(t, "github-buildx.yml", &flow)
	for _, step := range flow.Jobs["image"].Steps {
		switch {
		case step.Name == "Make it docker's buildx":
			n.sh(t, step.Run)
		case strings.HasPrefix(step.Uses, "docker/build-push-action"):
			plugin := n.path("home/.docker/cli-plugins/docker-buildx") + " buildx "
			n.sh(t, plugin+"version && "+plugin+"inspect")
			n.sh(t, plugin+"build --iidfile iid --metadata-file meta.json --provenance=false --push --tag "+
				n.registry+"/github/app:1 "+step.With["context"].(string))
			if !strings.HasPrefix(n.read(t, "ctx/iid"), "sha256:") ||
				!strings.Contains(n.read(t, "ctx/meta.json"), `"containerimage.digest": "sha256:`) {
				t.Error("the action can't read what was built")
			}
		}
	}
	n.run(t, "skopeo", "inspect", "--cert-dir", n.path("certs"), "docker://"+n.registry+"/github/app:1")
	for _, name := range []string{"github.yml", "gitlab.yml"} {
		var parsed map[string]any
		template(t, name, &parsed)
	}
}
