package plan_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// ruleCase is a Dockerfile that a rule is tried on; want is "LINE RULE: MESSAGE" for each warning.
type ruleCase struct {
	name, text string
	options    func(*plan.Options)
	want       []string
}

func stageRuleCases() []ruleCase {
	return []ruleCase{
		{name: "ConsistentInstructionCasing fires", text: "FROM scratch\ncopy a /\nENV a=b\n", want: []string{
			"2 ConsistentInstructionCasing: Command 'copy' should match the case of the command majority (uppercase)"}},
		{name: "ConsistentInstructionCasing fires on mixed letters", text: "from scratch\nEnv a=b\nenv c=d\n", want: []string{
			"2 ConsistentInstructionCasing: Command 'Env' should match the case of the command majority (lowercase)"}},
		{name: "ConsistentInstructionCasing is silent", text: "from scratch\nenv a=b\n"},
		{name: "StageNameCasing fires", text: "FROM scratch AS One\n",
			want: []string{"1 StageNameCasing: Stage name 'One' should be lowercase"}},
		{name: "StageNameCasing is silent", text: "FROM scratch AS one\n"},
		{name: "FromAsCasing fires", text: "FROM scratch as one\n",
			want: []string{"1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"}},
		{name: "FromAsCasing is silent", text: "from scratch as one\n"},
		{name: "DuplicateStageName fires", text: "FROM scratch AS a\nFROM scratch AS a\n", want: []string{
			`2 DuplicateStageName: Duplicate stage name "a", stage names should be unique`}},
		{name: "DuplicateStageName is silent", text: "FROM scratch AS a\nFROM scratch AS b\n"},
		{name: "ReservedStageName fires", text: "FROM scratch AS scratch\nFROM scratch AS context\n", want: []string{
			`1 ReservedStageName: Stage name should not use the same name as reserved stage "scratch"`,
			`2 ReservedStageName: Stage name should not use the same name as reserved stage "context"`}},
		{name: "ReservedStageName is silent", text: "FROM scratch AS contexts\n"},
		{name: "UndefinedArgInFrom fires",
			text: "ARG tag=1\nFROM alpine:${tag}${verzion} AS b\nFROM --platform=$BUILDPLATFROM$TARGETOS alpine\n",
			want: []string{
				"2 UndefinedArgInFrom: FROM argument 'verzion' is not declared",
				"3 UndefinedArgInFrom: FROM argument 'BUILDPLATFROM' is not declared (did you mean BUILDPLATFORM?)"}},
		{name: "UndefinedArgInFrom is silent", text: "ARG DEBUG\nFROM --platform=$BUILDPLATFORM scratch${DEBUG}\n"},
		{name: "InvalidDefaultArgInFrom fires", text: "ARG VERSION\nFROM alpine:$VERSION\n",
			options: func(o *plan.Options) { o.BuildArgs = map[string]*string{"VERSION": value("1")} },
			want:    []string{"2 InvalidDefaultArgInFrom: Default value for ARG alpine:$VERSION results in empty or invalid base image name"}},
		{name: "InvalidDefaultArgInFrom is silent", text: "ARG VERSION=3\nFROM alpine:$VERSION\n",
			options: func(o *plan.Options) { o.BuildArgs = map[string]*string{"VERSION": value("1")} }},
		{name: "RedundantTargetPlatform fires", text: "FROM --platform=${TARGETPLATFORM} scratch\n", want: []string{
			"1 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default behavior"}},
		{name: "RedundantTargetPlatform is silent", text: "FROM --platform=${TARGETOS}/$TARGETARCH scratch\n"},
		{name: "FromPlatformFlagConstDisallowed fires", text: "FROM --platform=linux/amd64 alpine\n", want: []string{
			`1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64"`}},
		{name: "FromPlatformFlagConstDisallowed is silent for a stage of the name",
			text: "FROM --platform=linux/amd64 alpine AS build-amd64\n"},
		{name: "InvalidBaseImagePlatform fires", text: "FROM otherarch AS a\nFROM scratch\nCOPY --from=otherarch / /\n",
			want: []string{
				`1 InvalidBaseImagePlatform: Base image otherarch was pulled with platform "linux/s390x", expected "linux/amd64" for current build`,
				`3 InvalidBaseImagePlatform: Base image otherarch was pulled with platform "linux/s390x", expected "linux/amd64" for current build`}},
		{name: "InvalidBaseImagePlatform is silent", text: "FROM alpine\n"},
		{name: "InvalidDefinitionDescription fires",
			text: "# check=experimental=InvalidDefinitionDescription\n# bar is bar\nARG foo=bar\n# Base is base\nFROM scratch AS base\n# something\nARG a=1 b=2\n", want: []string{
				"3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# foo <description>`",
				"5 InvalidDefinitionDescription: Comment for FROM should follow the format: `# base <description>`",
				"7 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`"}},
		{name: "InvalidDefinitionDescription is silent",
			text: "# check=experimental=InvalidDefinitionDescription\n# foo is foo\nARG foo=bar\n# no description\n#\nFROM scratch AS base\n"},
		{name: "InvalidDefinitionDescription is silent unless asked for", text: "# bar\nARG foo\nFROM scratch\n"},
	}
}

func instructionRuleCases() []ruleCase {
	return []ruleCase{
		{name: "NoEmptyContinuation fires", text: "FROM scratch\nENV a=b \\\n\n  c=d\n",
			want: []string{"4 NoEmptyContinuation: Empty continuation line"}},
		{name: "NoEmptyContinuation is silent about comments", text: "FROM scratch\nENV a=b \\\n # why\n  c=d\n"},
		{name: "JSONArgsRecommended fires", text: "FROM scratch\nCMD a\nentrypoint b\n", want: []string{
			"2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
			"3 ConsistentInstructionCasing: Command 'entrypoint' should match the case of the command majority (uppercase)",
			"3 JSONArgsRecommended: JSON arguments recommended for entrypoint to prevent unintended behavior related to OS signals"}},
		{name: "JSONArgsRecommended is silent after SHELL",
			text: "FROM scratch AS base\nSHELL [\"/sh\"]\nFROM base\nCMD a\nENTRYPOINT b\n"},
		{name: "JSONArgsRecommended is silent if the base has a shell", text: "FROM appbase\nCMD a\n"},
		{name: "MaintainerDeprecated fires", text: "FROM scratch\nMAINTAINER a\n", want: []string{
			"2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label"}},
		{name: "MaintainerDeprecated is silent", text: "FROM scratch\nLABEL org.opencontainers.image.authors=a\n"},
		{name: "WorkdirRelativePath fires", text: "FROM golang\nWORKDIR app/\nWORKDIR more\n", want: []string{
			`2 WorkdirRelativePath: Relative workdir "app/" can have unexpected results if the base image changes`}},
		{name: "WorkdirRelativePath is silent", text: "FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR sub\n"},
		{name: "UndefinedVar fires",
			text: "FROM scratch\nARG DIR_ASSETS=assets/\nCOPY $DIR_ASSET .\nARG foo\nENV PATH=$PAHT:/bin\n", want: []string{
				"3 UndefinedVar: Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)",
				"5 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)"}},
		{name: "UndefinedVar fires in a heredoc", text: "FROM scratch\nCOPY <<A <<\"B\" /\n$x\nA\n$y\nB\n", want: []string{
			"2 UndefinedVar: Usage of undefined variable '$x'"}},
		{name: "UndefinedVar is silent",
			text: "FROM golang AS base\nARG foo\nFROM base\nCOPY Dockerfile${foo} $GOPATH\nRUN echo $anything\n"},
		{name: "MultipleInstructionsDisallowed fires",
			text: "FROM scratch\nCMD [\"a\"]\nENTRYPOINT [\"a\"]\nHEALTHCHECK NONE\nCMD [\"b\"]\nENTRYPOINT [\"b\"]\nHEALTHCHECK CMD b\n", want: []string{
				"2 MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
				"3 MultipleInstructionsDisallowed: Multiple ENTRYPOINT instructions should not be used in the same stage because only the last one will be used",
				"4 MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used"}},
		{name: "MultipleInstructionsDisallowed is silent", text: "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n"},
		{name: "LegacyKeyValueFormat fires", text: "FROM scratch\nENV a b\nLABEL c d\n", want: []string{
			`2 LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format`,
			`3 LegacyKeyValueFormat: "LABEL key=value" should be used instead of legacy "LABEL key value" format`}},
		{name: "LegacyKeyValueFormat is silent", text: "FROM scratch\nENV a=b\nLABEL c=d\n"},
		{name: "SecretsUsedInArgOrEnv fires", text: "FROM scratch\nENV Git_Key= apikey=b\nARG auth\n", want: []string{
			`2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "Git_Key")`,
			`2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "apikey")`,
			`3 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "auth")`}},
		{name: "SecretsUsedInArgOrEnv is silent",
			text: "FROM scratch\nENV PUBLIC_KEY= password_file=x KEYBOARD=de\nARG TOKEN_VERSION\n"},
		{name: "CopyIgnoredFile fires", text: "FROM scratch\nCOPY ok ./hidden /\nADD hidden/x /\n",
			options: func(o *plan.Options) { o.Ignore = ignored{"hidden"} }, want: []string{
				`2 CopyIgnoredFile: Attempting to Copy file "hidden" that is excluded by .dockerignore`,
				`3 CopyIgnoredFile: Attempting to Add file "hidden/x" that is excluded by .dockerignore`}},
		{name: "CopyIgnoredFile is silent about stages and named contexts",
			text: "FROM scratch AS a\nCOPY ok <<hidden /\nx\nhidden\nFROM scratch\nCOPY --from=a hidden /\nCOPY --from=ctx hidden /\n",
			options: func(o *plan.Options) {
				o.Ignore = ignored{"hidden"}
				o.Contexts = map[string]plan.NamedContext{"ctx": {Kind: plan.ContextDirectory, Ref: "/x"}}
			}},
		{name: "ExposeProtoCasing fires", text: "FROM scratch\nEXPOSE 80/TcP\n", want: []string{
			"2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase"}},
		{name: "ExposeProtoCasing is silent", text: "FROM scratch\nEXPOSE 80/tcp\n"},
		{name: "ExposeInvalidFormat fires", text: "FROM scratch\nEXPOSE 127.0.0.1:80:80 5000:5000\n", want: []string{
			"2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
			"2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '5000:5000'"}},
		{name: "ExposeInvalidFormat is silent", text: "FROM scratch\nEXPOSE 80-90/udp\n"},
	}
}

func optionRuleCases() []ruleCase {
	return []ruleCase{
		{name: "all stages are checked", text: "FROM scratch AS a\nCOPY $x /\nFROM scratch\nCOPY $y /\n", want: []string{
			"2 UndefinedVar: Usage of undefined variable '$x'", "4 UndefinedVar: Usage of undefined variable '$y'"}},
		{name: "only what the target needs", text: "FROM scratch AS a\nCOPY $x /\nFROM scratch\nCOPY $y /\n",
			options: func(o *plan.Options) { o.Target = "a" },
			want:    []string{"2 UndefinedVar: Usage of undefined variable '$x'"}},
		{name: "a remark after the rules",
			text: "FROM scratch\n# check=skip=SecretsUsedInArgOrEnv // it is public\nENV password=bar\nENV password=bar\n",
			want: []string{
				`4 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "password")`}},
		{name: "a remark after the directive",
			text: "# check=skip=SecretsUsedInArgOrEnv // it is public\nFROM scratch\nENV password=bar\n"},
		{name: "all skipped for an instruction", text: "FROM scratch\n# check=skip=all\nENV password b\n"},
		{name: "skipped above FROM",
			text: "# check=error=false\n\n# check=skip=RedundantTargetPlatform\nFROM --platform=$TARGETPLATFORM scratch\n"},
		{name: "another platform is no obstacle", text: "FROM --platform=windows/arm64 alpine AS arm64\n",
			options: func(o *plan.Options) { o.Platform.Architecture = "riscv64" }, want: []string{
				`1 InvalidBaseImagePlatform: Base image alpine was pulled with platform "linux/amd64", expected "windows/arm64" for current build`}},
		{name: "variables of an unknown image", text: "FROM unknown\nCOPY $x /\nCMD a\nFROM scratch\nCOPY $y /\n",
			want: []string{
				"3 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
				"5 UndefinedVar: Usage of undefined variable '$y'"}},
		{name: "variables of a stage on an unknown image", text: "FROM unknown AS a\nFROM a\nCOPY $x /\n"},
		{name: "unused build arguments", text: "FROM scratch\nARG VERSION\n",
			options: func(o *plan.Options) {
				o.BuildArgs = map[string]*string{"VERZION": value("1"), "OTHER": value("2"), "BUILDKIT_X": value("1"),
					"https_proxy": value("p")}
			}, want: []string{"0 UnusedBuildArg: One or more build-args [OTHER VERZION] were not consumed (did you mean VERSION?)"}},
	}
}

// ignored hides what is below a directory.
type ignored struct{ dir string }

func (i ignored) HidesSource(source string) bool {
	return strings.HasPrefix(strings.TrimPrefix(source, "./"), i.dir)
}

// incomplete is a resolver without the image "unknown".
type incomplete struct{ images }

func (r incomplete) Resolve(ctx context.Context, ref string, p plan.Wanted) (imagebuilder.Base, error) {
	if ref == "unknown" {
		return imagebuilder.Base{}, fmt.Errorf("looking: %w", plan.ErrUnknownImage)
	}
	return r.images.Resolve(ctx, ref, p)
}

func TestEachRuleFiresWhereItShouldAndNowhereElse(t *testing.T) {
	for _, tt := range slices.Concat(stageRuleCases(), instructionRuleCases(), optionRuleCases()) {
		t.Run(tt.name, func(t *testing.T) {
			found, err := checkText(t, tt)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range found.Warnings {
				got = append(got, fmt.Sprintf("%d %s: %s", w.Location.StartLine, w.Rule, w.Message))
				if w.Rule != plan.RuleUnusedBuildArg && w.Description == "" {
					t.Errorf("%s has no description", w.Rule)
				}
				if w.URL == "" && w.Rule != plan.RuleUnusedBuildArg && w.Rule != "InvalidBaseImagePlatform" {
					t.Errorf("%s has no page", w.Rule)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func checkText(t *testing.T, tt ruleCase) (plan.Findings, error) {
	t.Helper()
	f, err := dockerfile.Parse("Dockerfile", []byte(tt.text), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Resolver = incomplete{}
	if tt.options != nil {
		tt.options(&o)
	}
	return plan.Check(t.Context(), f, o)
}

func TestEachRuleOfTheLinterHasItsCases(t *testing.T) {
	rules := []string{
		"ConsistentInstructionCasing", "CopyIgnoredFile", "DuplicateStageName", "ExposeInvalidFormat", "ExposeProtoCasing",
		"FromAsCasing",
		"FromPlatformFlagConstDisallowed", "InvalidBaseImagePlatform", "InvalidDefaultArgInFrom",
		"InvalidDefinitionDescription",
		"JSONArgsRecommended", "LegacyKeyValueFormat", "MaintainerDeprecated", "MultipleInstructionsDisallowed",
		"NoEmptyContinuation",
		"RedundantTargetPlatform", "ReservedStageName", "SecretsUsedInArgOrEnv", "StageNameCasing", "UndefinedArgInFrom",
		"UndefinedVar",
		"WorkdirRelativePath",
	}
	for _, rule := range rules {
		var fires, silent bool
		for _, tt := range slices.Concat(stageRuleCases(), instructionRuleCases()) {
			fires = fires || strings.HasPrefix(tt.name, rule+" fires")
			silent = silent || strings.HasPrefix(tt.name, rule+" is silent")
		}
		if !fires || !silent {
			t.Errorf("%s: fires %v, silent %v", rule, fires, silent)
		}
	}
}

func TestUnknownImagesAreNamedOnce(t *testing.T) {
	found, err := checkText(t, ruleCase{text: "FROM unknown\nFROM unknown\nCOPY --from=unknown / /\nFROM alpine\n"})
	if err != nil || !slices.Equal(found.Unknown, []string{"unknown"}) {
		t.Errorf("got %v, %v", found.Unknown, err)
	}
}

func TestWarningsBeforeAnErrorAreKept(t *testing.T) {
	text := []byte("FROM scratch AS One\nENV a b\nCOPY --from=9 / /\n")
	f, err := dockerfile.Parse("Dockerfile", text, dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := plan.Check(t.Context(), f, options())
	if e := new(dockerfile.Error); !errors.As(err, &e) || e.Location.StartLine != 3 || len(found.Warnings) != 1 {
		t.Errorf("got %v, %v", found.Warnings, err)
	}
	var warned []string
	o := options()
	o.Warn = func(w dockerfile.Warning) { warned = append(warned, w.Rule) }
	if _, err := plan.Make(t.Context(), f, o); err == nil || !slices.Equal(warned, []string{"StageNameCasing"}) {
		t.Errorf("planning gives %v, %v", warned, err)
	}
}

func TestViolationsFailAfterAllAreListed(t *testing.T) {
	f, err := dockerfile.Parse("Dockerfile", []byte("# check=error=true\nFROM scratch AS One\nENV a b\nLABEL c d\n"),
		dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := "Dockerfile: lint violation found for rules: LegacyKeyValueFormat, StageNameCasing\n" +
		"hint: correct the lines, or do without error=true"
	warned := 0
	o := options()
	o.Warn = func(dockerfile.Warning) { warned++ }
	if _, err := plan.Make(t.Context(), f, o); err == nil || err.Error() != want || warned != 3 {
		t.Errorf("%d warnings, %v", warned, err)
	}
	if found, err := plan.Check(t.Context(), f, options()); err == nil || err.Error() != want || len(found.Warnings) != 3 {
		t.Errorf("check: %d warnings, %v", len(found.Warnings), err)
	}
	o.BuildArgs = map[string]*string{"UNUSED": value("1")}
	f, err = dockerfile.Parse("Dockerfile", []byte("# check=error=true\nFROM scratch\n"), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Make(t.Context(), f, o); err != nil {
		t.Errorf("an unused build argument is no violation: %v", err)
	}
}
