package plan_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/plan"
)

// planText plans a Dockerfile.
func planText(t *testing.T, text string, o plan.Options) *plan.Graph {
	t.Helper()
	g, err := make1(t.Context(), []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestEachFormOfExpansion(t *testing.T) {
	const vars = "FROM scratch\nENV set=foo.tar.gz empty= path=a/b/c\n"
	tests := []struct{ word, want string }{
		{"$set", "foo.tar.gz"},
		{"${set}", "foo.tar.gz"},
		{"$unset", ""},
		{"pre${set}post", "prefoo.tar.gzpost"},
		{"$set_x", ""},
		{"${set}_x", "foo.tar.gz_x"},
		{`\$set`, "$set"},
		{`\${set}`, "${set}"},
		{`\\$set`, `\foo.tar.gz`},
		{`'$set'`, "$set"},
		{`"$set"`, "foo.tar.gz"},
		{`"\$set"`, "$set"},
		{`'a'"b"c`, "abc"},
		{`"it's"`, "it's"},
		{"${unset:-word}", "word"}, {"${empty:-word}", "word"}, {"${set:-word}", "foo.tar.gz"},
		{"${unset-word}", "word"}, {"${empty-word}", ""}, {"${set-word}", "foo.tar.gz"},
		{"${unset:+word}", ""}, {"${empty:+word}", ""}, {"${set:+word}", "word"},
		{"${unset+word}", ""}, {"${empty+word}", "word"}, {"${set+word}", "word"},
		{"${set:?message}", "foo.tar.gz"}, {"${empty?message}", ""},
		{"${unset:-${set}}", "foo.tar.gz"},
		{"${unset:-${unset2:-${set:+deep}}}", "deep"},
		{`${unset:-"a b"}`, "a b"},
		{"${set#*.}", "tar.gz"}, {"${set##*.}", "gz"},
		{"${set%.*}", "foo.tar"}, {"${set%%.*}", "foo"},
		{"${set#nothing}", "foo.tar.gz"}, {"${set#f?o}", ".tar.gz"},
		{"${path##*/}", "c"}, {"${path%/*}", "a/b"},
		{"${path/\\//-}", "a-b/c"}, {"${path//\\//-}", "a-b-c"},
		{"${set/tar/zip}", "foo.zip.gz"}, {"${set//o/0}", "f00.tar.gz"}, {"${set/*./}", "gz"}, {"${set//o/}", "f.tar.gz"},
		{"$1", ""}, {"$", "$"}, {"a$", "a$"}, {"$-", ""}, {"$$", ""},
	}
	for _, tt := range tests {
		g := planText(t, vars+"WORKDIR /x"+tt.word+"/x\n", options())
		if got := g.Target.Image.Config.WorkingDir; got != "/x"+tt.want+"/x" {
			t.Errorf("%s: got %q, want %q", tt.word, got, "/x"+tt.want+"/x")
		}
	}
}

func TestEachInstructionThatExpandsAndNoOther(t *testing.T) {
	const file = `ARG G=alpine
FROM ${G:-x}
ARG V=value
`
	tests := []struct{ instruction, want string }{
		{"ENV E=$V $V=x", "ENV E=value value=x"},
		{"LABEL l$V='$V' m=\"$V\"", "LABEL lvalue=$V m=value"},
		{"EXPOSE ${PORT:-80}/${V:+tcp}", "EXPOSE [80/tcp]"},
		{"STOPSIGNAL SIG${S:-TERM}", "STOPSIGNAL SIGTERM"},
		{"USER $V:${V}2", "USER value:value2"},
		{"VOLUME /$V [\"/x\"]", "VOLUME [/value [/x]]"},
		{`VOLUME ["/$V", "/y"]`, "VOLUME [/value /y]"},
		{"WORKDIR /$V", "WORKDIR /value"},
		{"ARG A=$V B=${V}b", "ARG A=value B=valueb"},
		{"COPY --chown=$V:$V --chmod=${M:-755} a$V b$V /$V/", "COPY --chown=value:value --chmod=755 avalue bvalue /value/"},
		{"ADD --chown=$V --chmod=u+${X:-x} a$V /$V", "ADD --chown=value --chmod=u+x avalue /value"},
		{"RUN echo $V", "RUN |1 V=value /bin/sh -c echo $V"},
		{`RUN ["echo", "$V"]`, "RUN |1 V=value echo $V"},
		{"CMD echo $V", `CMD ["/bin/sh" "-c" "echo $V"]`},
		{`ENTRYPOINT ["$V"]`, `ENTRYPOINT ["$V"]`},
		{"HEALTHCHECK CMD echo $V",
			"HEALTHCHECK {Test:[CMD-SHELL echo $V] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}"},
		{`SHELL ["/$V"]`, "SHELL [/$V]"},
		{"MAINTAINER $V", "MAINTAINER $V"},
	}
	for _, tt := range tests {
		g := planText(t, file+tt.instruction+"\n", options())
		last := g.Target.Last
		if last.CreatedBy != tt.want {
			t.Errorf("%s: got %q, want %q", tt.instruction, last.CreatedBy, tt.want)
		}
	}
	g := planText(t, file+"ONBUILD ENV X=$V\n", options())
	if got := g.Target.Image.Config.OnBuild; len(got) != 1 || got[0] != "ENV X=$V" {
		t.Errorf("ONBUILD: got %q", got)
	}
}

func TestMountsExpandWhereTheyShould(t *testing.T) {
	g := planText(t, "FROM alpine AS src\nFROM alpine\nARG V=v\n"+
		"RUN --mount=type=cache,id=c-$V,target=/t$V --mount=type=bind,from=src,source=/s$V,target=b$V true\n", options())
	run, ok := g.Target.Last.Op.(*plan.Run)
	if !ok {
		t.Fatalf("got %T", g.Target.Last.Op)
	}
	var got []string
	for _, m := range run.Mounts {
		got = append(got, fmt.Sprintf("%s %s %s %s", m.Type, m.ID, m.Source, m.Target))
	}
	if diff := cmp.Diff([]string{"cache c-v / /tv", "bind  /sv /bv"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTriggersExpandInTheStageThatRunsThem(t *testing.T) {
	g := planText(t, "FROM alpine AS base\nARG V=base\nONBUILD COPY --chown=$V <<EOF /$V\n$V \\$V ${W:-w}\nEOF\nONBUILD RUN <<X\nhello $V\nX\nFROM base\nARG V=top\n", options())
	var texts []string
	for _, s := range g.Steps {
		switch op := s.Op.(type) {
		case *plan.Copy:
			texts = append(texts, op.Chown, op.Dest, string(op.Files[0].Data))
		case *plan.Run:
			texts = append(texts, strings.Join(op.Args, "|"))
		}
	}
	if diff := cmp.Diff([]string{"base", "/base", "base $V w\n", "/bin/sh|-c|hello $V\n"}, texts); diff != "" {
		t.Error(diff)
	}
}

func TestOneLineSeesTheValuesFromBeforeIt(t *testing.T) {
	g := planText(t, "FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nARG x=1 y=$x\nLABEL l=$y a=1\n",
		options())
	env := g.Target.Image.Config.Env
	want := []string{"abc=bye", "def=hello", "ghi=bye"}
	if diff := cmp.Diff(want, env[len(env)-3:]); diff != "" {
		t.Error(diff)
	}
	if got := g.Target.Image.Config.Labels["l"]; got != "1" { // the arguments of one ARG are read one after the other
		t.Errorf("y is %q", got)
	}
}

func TestArgumentScopes(t *testing.T) {
	tests := []struct {
		name, text string
		args       map[string]*string
		want       string
	}{
		{"a global argument is not known in a stage", "ARG G=1\nFROM scratch\nLABEL r=<$G>\n", nil, "<>"},
		{"unless the stage names it", "ARG G=1\nFROM scratch\nARG G\nLABEL r=<$G>\n", nil, "<1>"},
		{"a stage's own default goes before the global value", "ARG G=1\nFROM scratch\nARG G=2\nLABEL r=<$G>\n", nil, "<2>"},
		{"what is given goes before both", "ARG G=1\nFROM scratch\nARG G=2\nLABEL r=<$G>\n",
			map[string]*string{"G": value("3")}, "<3>"},
		{"given empty", "ARG G=1\nFROM scratch\nARG G=2\nLABEL r=<$G>\n", map[string]*string{"G": value("")}, "<>"},
		{"given without a value", "ARG G=1\nFROM scratch\nARG G=2\nLABEL r=<$G>\n", map[string]*string{"G": nil}, "<2>"},
		{"global arguments use each other", "ARG A=1\nARG B=${A}2 C=${A}3\nFROM scratch\nARG B C\nLABEL r=<$B$C>\n", nil,
			"<1213>"},
		{"known only from its line on", "FROM scratch\nLABEL r=<$A>\nARG A=1\n", nil, "<>"},
		{"not known in the next stage", "FROM scratch AS a\nARG A=1\nFROM scratch\nLABEL r=<$A>\n", nil, "<>"},
		{"known in a stage on top", "FROM scratch AS a\nARG A=1\nFROM a AS b\nFROM b\nLABEL r=<$A>\n", nil, "<1>"},
		{"ENV goes before ARG", "FROM scratch\nARG A=arg\nENV A=env\nLABEL r=<$A>\n", nil, "<env>"},
		{"and before what is given", "FROM scratch\nENV A=env\nARG B\nLABEL r=<$A$B>\n",
			map[string]*string{"A": value("given"), "B": value("b")}, "<envb>"},
		{"ENV of an argument", "FROM scratch\nARG V\nENV V=${V:-v1}\nLABEL r=<$V>\n", map[string]*string{"V": value("v2")},
			"<v2>"},
		{"platform arguments must be named", "FROM scratch\nLABEL r=<$TARGETARCH>\n", nil, "<>"},
		{"and are there then",
			"FROM scratch AS last\nARG TARGETARCH BUILDOS TARGETPLATFORM TARGETVARIANT TARGETSTAGE\nLABEL r=<$TARGETARCH/$BUILDOS/$TARGETPLATFORM/$TARGETVARIANT/$TARGETSTAGE>\n", nil, "<amd64/linux/linux/amd64//last>"},
		{"a proxy is not a variable", "FROM scratch\nLABEL r=<$HTTP_PROXY>\n", map[string]*string{"HTTP_PROXY": value("p")},
			"<>"},
		{"unless it is declared", "FROM scratch\nARG HTTP_PROXY\nLABEL r=<$HTTP_PROXY>\n",
			map[string]*string{"HTTP_PROXY": value("p")}, "<p>"},
		{"names are case sensitive", "FROM scratch\nARG a=1 A=2\nLABEL r=<$a$A>\n", nil, "<12>"},
		{"a value with quotes and spaces", "FROM scratch\nARG A=\"a b\" B='c $A'\nLABEL r=\"<$A$B>\"\n", nil, "<a bc $A>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.BuildArgs = tt.args
			if got := planText(t, tt.text, o).Target.Image.Config.Labels["r"]; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestProxiesAreUsedAndNotStored(t *testing.T) {
	const secret = "http://user:pass@proxy"
	o := options()
	o.BuildArgs = map[string]*string{"HTTPS_PROXY": value(secret), "no_proxy": value("local")}
	g := planText(t, "FROM alpine\nENV A=1\nRUN true\n", o)
	run, ok := g.Target.Last.Op.(*plan.Run)
	if !ok || len(run.ProxyEnv) != 4 {
		t.Fatalf("got %+v", g.Target.Last.Op)
	}
	run.ProxyEnv = nil
	if text := string(render(t, g)); strings.Contains(text, secret) {
		t.Errorf("the proxy is in the plan:\n%s", text)
	}
	declared := planText(t, "FROM alpine\nARG HTTPS_PROXY\nRUN true\n", o)
	if !strings.Contains(declared.Target.Last.CreatedBy, "|1 HTTPS_PROXY="+secret) {
		t.Errorf("a declared proxy is an argument like any other: %s", declared.Target.Last.CreatedBy)
	}
}

func TestProxiesOfTheEnvironmentAreNeverStored(t *testing.T) {
	const secret = "http://user:pass@proxy"
	for text, want := range map[string]int{
		"FROM alpine\nRUN true\n":                  2,
		"FROM alpine\nARG HTTPS_PROXY\nRUN true\n": 2,
		"ARG https_proxy\nFROM alpine\nARG https_proxy\nENV P=$https_proxy\nRUN echo $https_proxy\n": 2,
		"FROM alpine\nARG https_proxy=http://default\nRUN true\n":                                    2,
		"FROM alpine\nENV https_proxy=http://image\nRUN true\n":                                      1,
	} {
		o := options()
		o.Proxies = map[string]string{"https_proxy": secret}
		g := planText(t, text, o)
		run, ok := g.Target.Last.Op.(*plan.Run)
		if !ok || len(run.ProxyEnv) != want || !strings.HasSuffix(run.ProxyEnv[0], secret) {
			t.Fatalf("%q: got %+v", text, g.Target.Last.Op)
		}
		run.ProxyEnv = nil
		if plan := string(render(t, g)); strings.Contains(plan, secret) {
			t.Errorf("%q: the proxy is in the plan:\n%s", text, plan)
		}
	}
}

func TestTheSourceDateComesFromTheArgumentOrTheFile(t *testing.T) {
	const declared = "ARG SOURCE_DATE_EPOCH=7\nFROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL r=$SOURCE_DATE_EPOCH\n"
	for _, tt := range []struct {
		text        string
		given       *string
		want, label string
	}{
		{"FROM scratch\n", nil, "", ""},
		{"FROM scratch\nLABEL r=x\n", value("5"), "5", "x"},
		{"FROM scratch\nARG SOURCE_DATE_EPOCH=9\nLABEL r=$SOURCE_DATE_EPOCH\n", nil, "", "9"},
		{declared, nil, "7", "7"},
		{declared, value("5"), "5", "5"},
		{declared, value(""), "", ""},
	} {
		o := options()
		o.BuildArgs = map[string]*string{}
		if tt.given != nil {
			o.BuildArgs["SOURCE_DATE_EPOCH"] = tt.given
		}
		g := planText(t, tt.text, o)
		if got := g.Target.Image.Config.Labels["r"]; g.SourceDate != tt.want || got != tt.label {
			t.Errorf("%q: date %q, label %q", tt.text, g.SourceDate, got)
		}
		if len(g.Warnings) > 0 {
			t.Errorf("%q: %v", tt.text, g.Warnings)
		}
	}
}

func TestCacheMountsHaveTheirNamespace(t *testing.T) {
	o := options()
	o.BuildArgs = map[string]*string{"BUILDKIT_CACHE_MOUNT_NS": value("ci")}
	g := planText(t, "FROM alpine\nRUN --mount=type=cache,target=/c --mount=type=cache,id=x,target=/d true\n", o)
	text := string(render(t, g))
	if !strings.Contains(text, "id=ci/c ") || !strings.Contains(text, "id=ci/x ") {
		t.Error(text)
	}
}

func TestTheDateOfTheContextStandsForItsName(t *testing.T) {
	const declared = "ARG SOURCE_DATE_EPOCH=7\nFROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL r=$SOURCE_DATE_EPOCH\n"
	byDefault := strings.Replace(declared, "7", plan.ContextDate, 1)
	for _, tt := range []struct {
		text, date  string
		given       *string
		want, label string
	}{
		{declared, "9", value(plan.ContextDate), "9", "9"},
		{declared, "", value(plan.ContextDate), "7", "7"},
		{byDefault, "9", nil, "9", "9"},
		{byDefault, "", nil, "", ""},
		{byDefault, "9", value("5"), "5", "5"},
		{"FROM scratch\nLABEL r=x\n", "9", value(plan.ContextDate), "9", "x"},
	} {
		o := options()
		o.BuildArgs = map[string]*string{}
		if tt.given != nil {
			o.BuildArgs["SOURCE_DATE_EPOCH"] = tt.given
		}
		o.ContextDate = func(context.Context) (string, error) { return tt.date, nil }
		g := planText(t, tt.text, o)
		if got := g.Target.Image.Config.Labels["r"]; g.SourceDate != tt.want || got != tt.label {
			t.Errorf("%q, %q: date %q, label %q", tt.text, tt.date, g.SourceDate, got)
		}
		if given := o.BuildArgs["SOURCE_DATE_EPOCH"]; given != tt.given {
			t.Errorf("%q: the argument that was given is now %v", tt.text, given)
		}
	}
}
