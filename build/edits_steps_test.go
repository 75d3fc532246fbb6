package build_test

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build"
)

// replaced is a change of the Dockerfile.
func replaced(old, now string) func(*project) {
	return func(p *project) { p.edited(old, now) }
}

// editsOfInstructions change words of the Dockerfile.
func editsOfInstructions() []edit {
	const run = "COPY f /f\nRUN echo a >/r\nRUN echo b >/last\n"
	const after = "RUN echo a|RUN echo b"
	all := []edit{
		{name: "w: a comment", dockerfile: run, change: replaced("RUN echo a", "# why\nRUN echo a")},
		{name: "w: an empty line", dockerfile: run, change: replaced("RUN echo a", "\n\nRUN echo a")},
		{name: "w: small letters", dockerfile: run, change: replaced("RUN echo a", "run echo a")},
		{name: "w: a label", dockerfile: run, change: replaced("RUN echo a", "LABEL a=b\nRUN echo a")},
		{name: "w: a port", dockerfile: run, change: replaced("RUN echo a", "EXPOSE 80\nRUN echo a")},
		{name: "w: what the image starts", dockerfile: run,
			change: replaced("RUN echo a", "CMD x\nENTRYPOINT y\nRUN echo a")},
		{name: "w: a health check", dockerfile: run, change: replaced("RUN echo a", "HEALTHCHECK CMD x\nRUN echo a")},
		{name: "w: a volume", dockerfile: run, change: replaced("RUN echo a", "VOLUME /v\nRUN echo a")},
		{name: "w: a variable", dockerfile: run, change: replaced("RUN echo a", "ENV A=b\nRUN echo a"), runs: after},
		{name: "w: a variable's value", dockerfile: "ENV A=b\n" + run, change: replaced("A=b", "A=c"), runs: after},
		{name: "w: a variable after all steps", dockerfile: run + "ENV A=b\n", change: replaced("A=b", "A=c")},
		{name: "w: a variable in a COPY", dockerfile: "ENV A=f\nCOPY $A /f\n", change: replaced("A=f", "A=g"),
			runs: "COPY g"},
		{name: "w: a variable with the same expansion", dockerfile: "ENV A=f\nCOPY $A /f\n",
			change: replaced("COPY $A", "COPY ${A}")},
		{name: "w: a user", dockerfile: run, change: replaced("RUN echo b", "USER 0:0\nRUN echo b"), runs: "RUN echo b"},
		{name: "w: a working directory", dockerfile: run, change: replaced("RUN echo a", "WORKDIR /w\nRUN echo a"),
			runs: "WORKDIR|" + after},
		{name: "w: a shell", dockerfile: run, change: replaced("RUN echo a", "SHELL [\"/bin/sh\", \"-ec\"]\nRUN echo a"),
			runs: after},
		{name: "w: a command", dockerfile: run, change: replaced("echo a", "echo c"), runs: "RUN echo c|RUN echo b"},
		{name: "w: a command with the same result", dockerfile: run, change: replaced("echo a", "echo  a"),
			runs: "RUN echo  a"},
		{name: "w: two commands exchanged", dockerfile: run,
			change: replaced("RUN echo a >/r\nRUN echo b >/last", "RUN echo b >/last\nRUN echo a >/r"), runs: after},
		{name: "w: the last step", dockerfile: run, change: replaced("echo b", "echo c"), runs: "RUN echo c"},
		{name: "w: a step more", dockerfile: run, change: replaced("RUN echo b", "RUN echo m >/m\nRUN echo b"),
			runs: "RUN echo m|RUN echo b"},
		{name: "w: a step more that does nothing", dockerfile: run, change: replaced("RUN echo b", "RUN :\nRUN echo b"),
			runs: "RUN :"},
		{name: "w: a step less", dockerfile: run, change: replaced("RUN echo a >/r\n", ""), runs: "RUN echo b"},
		{name: "w: a heredoc", dockerfile: "RUN <<E\necho a >/r\nE\n", change: replaced("echo a", "echo c"), runs: "RUN <<E"},
		{name: "w: a heredoc's name", dockerfile: "RUN <<E\necho a >/r\nE\n",
			change: replaced("<<E\necho a >/r\nE", "<<F\necho a >/r\nF")},
		{name: "w: a heredoc that is copied", dockerfile: "COPY <<E /h\na\nE\nRUN echo b >/last\n",
			change: replaced("\na\n", "\nc\n"), runs: "COPY <<E|RUN echo b"},
		{name: "w: a destination", dockerfile: run, change: replaced("/f", "/g"), runs: "COPY f|" + after},
		{name: "w: an owner", dockerfile: run, change: replaced("COPY f", "COPY --chown=7 f"), runs: "COPY --chown|" + after},
		{name: "w: a mode", dockerfile: run, change: replaced("COPY f", "COPY --chmod=700 f"), runs: "COPY --chmod|" + after},
		{name: "w: ADD for COPY", dockerfile: run, change: replaced("COPY f", "ADD f"), runs: "ADD f"},
		{name: "w: a linked file", dockerfile: strings.Replace(run, "COPY f", "COPY --link f", 1), begin: func(p *project) {
			p.write("f", "linked 1") // what is below doesn't tell it from those of others
		}, change: func(p *project) {
			p.write("f", "linked 2")
		}, runs: "COPY --link|" + after},
		{name: "w: what is below a linked file", dockerfile: "COPY g /g\nCOPY --link f /f\nRUN echo b >/last\n",
			change: func(p *project) { p.write("g", "2") }, runs: "COPY g|RUN echo b"},
		{name: "w: what is left out", dockerfile: "COPY --exclude=*.a . /all\n",
			files:  map[string]string{"x.a": "1", "x.b": "2"},
			change: replaced("*.a", "*.b"), runs: "COPY --exclude"},
		{name: "w: a file that is left out", dockerfile: "COPY --exclude=*.a . /all\n",
			files:  map[string]string{"x.a": "1", "x.b": "2"},
			change: func(p *project) { p.write("x.a", "3") }},
		{name: "w: a pattern that selects the same", dockerfile: "COPY f /d/\n", change: replaced("COPY f", "COPY f*"),
			runs: "COPY f*"},
		{name: "w: a file that a pattern selects too", dockerfile: "COPY f* /d/\n",
			change: func(p *project) { p.write("f2", "2") },
			runs:   "COPY f*"},
	}
	for i := range all {
		if all[i].files == nil {
			all[i].files = map[string]string{"f": "1", "g": "1"}
		}
	}
	return all
}

// editsOfSteps change what RUN steps see.
func editsOfSteps() []edit {
	files := map[string]string{"f": "1", "g": "1"}
	const first, last = "RUN echo a >/r\n", "RUN echo b >/last\n"
	const arg = first + "ARG A\n" + last
	secret := func(value string) func(*project) {
		return func(p *project) { p.request.Run.Secrets = map[string]build.Secret{"s": build.Secret(value)} }
	}
	all := []edit{
		{name: "s: an argument that is used", dockerfile: first + "ARG A\nRUN echo $A >/last\n",
			change: func(p *project) { p.arg("A", "x") }, runs: "RUN echo x"},
		{name: "s: an argument that a step sees", dockerfile: arg, change: func(p *project) { p.arg("A", "x") },
			runs: "RUN echo b"},
		{name: "s: an argument after all steps", dockerfile: first + "ARG A\n", change: func(p *project) { p.arg("A", "x") }},
		{name: "s: an argument that no stage has", dockerfile: first, change: func(p *project) { p.arg("B", "x") }},
		{name: "s: an argument of another stage", dockerfile: "FROM base AS other\nCOPY id /id\nRUN echo o >/o\nARG A\n" +
			head + first + "COPY --from=other /o /o\n", change: func(p *project) { p.arg("A", "x") }},
		{name: "s: an argument given as its default", dockerfile: head + "ARG A=x\n" + last,
			change: func(p *project) { p.arg("A", "x") }},
		{name: "s: a default", dockerfile: head + "ARG A=x\n" + last, change: replaced("A=x", "A=y"), runs: "RUN echo b"},
		{name: "s: a proxy", dockerfile: first, change: func(p *project) { p.arg("HTTP_PROXY", "http://192.0.2.1:1") }},
		{name: "s: a secret's value", dockerfile: "RUN --mount=type=secret,id=s echo a >/r\n", begin: secret("one"),
			change: secret("two")},
		{name: "s: a secret's place", dockerfile: "RUN --mount=type=secret,id=s echo a >/r\n", begin: secret("one"),
			change: replaced("id=s", "id=s,target=/s"), runs: "RUN --mount"},
		{name: "s: a secret", dockerfile: first, begin: secret("one"),
			change: replaced("RUN ", "RUN --mount=type=secret,id=s "),
			runs:   "RUN --mount"},
		{name: "s: a file that a mount shows", dockerfile: "RUN --mount=target=/m,source=f read x </m; echo $x >/r\n" + last,
			change: func(p *project) { p.write("f", "2\n") }, runs: "RUN --mount|RUN echo b"},
		{name: "s: the mode of a file that a mount shows", dockerfile: "RUN --mount=target=/m,source=f echo >/r\n" + last,
			change: func(p *project) { p.must(os.Chmod(p.path("f"), 0o600)) }, runs: "RUN --mount"},
		{name: "s: a file that no mount shows", dockerfile: "RUN --mount=target=/m,source=f echo >/r\n",
			change: func(p *project) { p.write("g", "2") }},
		{name: "s: a mount's place", dockerfile: "RUN --mount=target=/m,source=f echo >/r\n", change: replaced("/m", "/n"),
			runs: "RUN --mount"},
		{name: "s: a mount's source", dockerfile: "RUN --mount=target=/m,source=f echo >/r\n",
			change: replaced("source=f", "source=g"),
			runs:   "RUN --mount"},
		{name: "s: what is in a cache mount",
			dockerfile: "RUN --mount=type=cache,target=/c echo x >>/c/f\nRUN echo b >/last\n",
			change: func(p *project) {
				p.edited("RUN echo b", "RUN --mount=type=cache,target=/c echo y >>/c/f\nRUN echo b")
			}, runs: "RUN --mount=type=cache,target=/c echo y"},
		{name: "s: a cache mount's id", dockerfile: "RUN --mount=type=cache,target=/c echo >/r\n",
			change: replaced("cache,", "cache,id=z,"), runs: "RUN --mount"},
		{name: "s: the size of memory", dockerfile: "RUN --mount=type=tmpfs,target=/t echo >/r\n",
			change: replaced("/t", "/t,size=1000000"),
			runs:   "RUN --mount"},
		{name: "s: no network", dockerfile: "COPY f /f\n" + first, change: replaced("RUN ", "RUN --network=none "),
			runs: "RUN --network"},
		{name: "s: no network by option", dockerfile: "COPY f /f\n" + first,
			change: func(p *project) { p.request.Run.Network = "none" }, runs: "RUN echo a"},
		{name: "s: names of hosts", dockerfile: "COPY f /f\n" + first, change: func(p *project) {
			p.request.Run.AddHosts = []string{"x:192.0.2.1"}
		}, runs: "RUN echo a"},
		{name: "s: shared memory", dockerfile: "COPY f /f\n" + first,
			change: func(p *project) { p.request.Run.ShmSize = 1 << 20 },
			runs:   "RUN echo a"},
		{name: "s: limits", dockerfile: "COPY f /f\n" + first,
			change: func(p *project) { p.request.Run.Limits = []string{"nofile=100"} },
			runs:   "RUN echo a"},
		{name: "s: a capability less", dockerfile: "COPY f /f\n" + first, change: func(p *project) {
			p.request.Run.CapDrop = []string{"CAP_CHOWN"}
		}, runs: "RUN echo a"},
		{name: "s: no new privileges", dockerfile: "COPY f /f\n" + first,
			change: func(p *project) { p.request.Run.NoNewPrivs = true },
			runs:   "RUN echo a"},
		{name: "s: name servers", dockerfile: "COPY f /f\n" + first, change: func(p *project) {
			p.request.Run.DNS = build.DNS{Servers: []string{"192.0.2.1"}}
		}},
		{name: "s: a file that changes while a step sees it", impure: true,
			dockerfile: "RUN --mount=target=/m,source=f echo began; read x </m; echo $x >/r\n", begin: func(p *project) {
				p.during = func(string) { p.write("f", "changed\n") }
			}, change: func(p *project) { p.during = nil }, runs: "RUN --mount"},
	}
	for i := range all {
		all[i].files = files
	}
	return all
}

// editsOfSources change where files come from.
func editsOfSources() []edit {
	stage := "FROM base AS made\nCOPY id /id\nCOPY f /f\nCOPY g /g\n"
	const final = head + "COPY --from=made /f /f\nRUN echo b >/last\n"
	dirs := func(p *project) string { return filepath.Join(filepath.Dir(p.dir), filepath.Base(p.dir)+"-named") }
	image := func(name string, files map[string]string, env string) func(p *project) {
		return func(p *project) {
			p.on.image(p.T, name, files, "FROM base\n"+env+"COPY f /f\nCOPY g /g\n")
		}
	}
	one, two := map[string]string{"f": "1", "g": "1"}, map[string]string{"f": "2", "g": "1"}
	other := map[string]string{"f": "1", "g": "2"}
	all := []edit{
		{name: "c: a stage's file", dockerfile: stage + final, change: func(p *project) { p.write("f", "2") },
			runs: "COPY f|COPY g|COPY --from|RUN echo b"},
		{name: "c: another file of the stage", dockerfile: stage + final, change: func(p *project) { p.write("g", "2") },
			runs: "COPY g"},
		{name: "c: a stage that nothing needs", dockerfile: stage + "FROM made AS idle\nCOPY h /h\n" + final,
			change: func(p *project) { p.write("h", "2") }},
		{name: "c: the stages' order",
			dockerfile: "FROM base AS a\nCOPY id /a\nCOPY f /f\nFROM base AS b\nCOPY id /b\nCOPY g /g\n" +
				"FROM base\nCOPY --from=a /f /f\nCOPY --from=b /g /g\n",
			change: replaced("FROM base AS a\nCOPY id /a\nCOPY f /f\nFROM base AS b\nCOPY id /b\nCOPY g /g\n",
				"FROM base AS b\nCOPY id /b\nCOPY g /g\nFROM base AS a\nCOPY id /a\nCOPY f /f\n")},
		{name: "c: a stage's name", dockerfile: stage + final, change: func(p *project) {
			p.write("Dockerfile", strings.ReplaceAll(p.read("Dockerfile"), "made", "built"))
		}},
		{name: "c: a stage that is equal to another", dockerfile: stage + final,
			change: replaced("COPY --from=made", "COPY --from=again"), begin: func(p *project) {
				p.edited(head, "FROM base AS again\nCOPY id /id\nCOPY f /f\nCOPY g /g\n"+head)
			}},
		{name: "c: another target", dockerfile: stage + final, change: func(p *project) { p.request.Target = "made" }},
		{name: "c: a stage that a mount shows", dockerfile: stage + head + "RUN --mount=from=made,target=/m echo >/r\n",
			change: func(p *project) { p.write("g", "2") }, runs: "COPY g|RUN --mount"},
		{name: "c: the base", dockerfile: "FROM moved\nCOPY id /id\nRUN echo a >/r\n", begin: image("moved", one, ""),
			change: image("moved", two, ""), runs: "COPY id|RUN echo a"},
		{name: "c: the base's variables", dockerfile: "FROM wordy\nCOPY id /id\nRUN echo a >/r\n",
			begin:  image("wordy", one, ""),
			change: image("wordy", one, "ENV A=b\n"), runs: "RUN echo a"},
		{name: "c: the base's labels", dockerfile: "FROM named\nCOPY id /id\nRUN echo a >/r\n",
			begin:  image("named", one, ""),
			change: image("named", one, "LABEL A=b\n")},
		{name: "c: an image", dockerfile: head + "COPY --from=away /f /f\nRUN echo a >/r\n", begin: image("away", one, ""),
			change: image("away", two, ""), runs: "COPY --from|RUN echo a"},
		{name: "c: another file of an image", dockerfile: head + "COPY --from=apart /f /f\nRUN echo a >/r\n",
			begin:  image("apart", one, ""),
			change: image("apart", other, "")},
		{name: "c: an image that a mount shows", dockerfile: head + "RUN --mount=from=shown,target=/m echo >/r\n",
			begin: image("shown", one, ""), change: image("shown", other, ""), runs: "RUN --mount"},
		{name: "c: a file of a named context", dockerfile: head + "COPY --from=more f /f\n", begin: func(p *project) {
			p.dir += "-named"
			p.write("f", "1")
			p.dir = strings.TrimSuffix(p.dir, "-named")
			p.named("more", dirs(p))
		}, change: func(p *project) { write(p.T, filepath.Join(dirs(p), "f"), "2") }, runs: "COPY --from"},
		{name: "c: another directory as a named context", dockerfile: head + "COPY --from=more f /f\n",
			begin: func(p *project) {
				p.named("more", contextOf(p.T, one))
			}, change: func(p *project) { p.named("more", contextOf(p.T, other)) }},
	}
	for i := range all {
		all[i].files = map[string]string{"f": "1", "g": "1", "h": "1"}
	}
	return all
}

// editsOfBuilds change what is asked of the build.
func editsOfBuilds() []edit {
	// No two steps are equal: of such that run at once either one or both are run.
	stages := "FROM base AS made\nCOPY id /made\nRUN echo a >/f\n" + head + "COPY --from=made /f /f\nRUN echo b >/last\n"
	const all = "COPY id|COPY id|RUN echo a|COPY --from|RUN echo b"
	return []edit{
		{name: "b: nothing", dockerfile: stages, change: func(*project) {}},
		{name: "b: a tag", dockerfile: stages, change: func(p *project) { p.request.Tags = []string{"edited"} }},
		{name: "b: a label", dockerfile: stages, change: func(p *project) { p.request.Labels = map[string]string{"a": "b"} }},
		{name: "b: one step at a time", dockerfile: stages, change: func(p *project) { p.request.Jobs = 1 }},
		{name: "b: the date", dockerfile: stages, change: func(p *project) {
			date := time.Unix(1_100_000_000, 0)
			p.request.Timestamp = &date
		}, runs: all},
		{name: "b: the date of the Dockerfile's", dockerfile: stages, begin: func(p *project) {
			p.request.Timestamp = nil
			p.arg("SOURCE_DATE_EPOCH", "1000")
		}, change: func(p *project) { p.arg("SOURCE_DATE_EPOCH", "2000") }, runs: all},
		{name: "b: no cache", dockerfile: stages, change: func(p *project) { p.request.NoCache = true }, runs: all},
		{name: "b: a stage anew", dockerfile: stages, change: func(p *project) { p.request.Fresh = []string{"made"} },
			runs: "COPY id|RUN echo a"},
		{name: "b: nothing that is old", dockerfile: stages, change: func(p *project) {
			p.request.CacheTTL = time.Nanosecond
		}, runs: all},
	}
}
