package tests_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// attack is one that a tool like this one has met, or that was found here.
type attack struct {
	what  string
	tests string // names of functions and, with a slash, of their cases
}

func attacks() []attack {
	return []attack{
		{"symbolic link in a bind mount's source (CVE-2024-1753)",
			"TestHostileDockerfiles/bind mount of a symlink, TestSourceLinksStayInside"},
		{"path of a cache mount that leads out (CVE-2024-9675)",
			"TestHostileDockerfiles/cache id with dots, TestHostileDockerfiles/cache source with dots"},
		{"stages at once that swap a mount's source (CVE-2024-11218, CVE-2024-23651)",
			"TestWhatIsSwappedMeanwhileDoesntLeadOut, TestADirectoryThatIsSwappedGetsNothing"},
		{"clean-up of mount points that deletes files of the host (CVE-2024-23652)",
			"TestMountPointsLeaveNoTrace, TestSwappedMountPointIsNotTouched"},
		{"option of a mount that isn't looked at (CVE-2024-9407)", "FuzzMounts, TestHostileDockerfiles/bind mount with dots"},
		{"writes to a bind mount that stay in the context (CVE-2025-4953)", "TestBindMountOfAContextIsNoCopy"},
		{"WORKDIR through a descriptor (CVE-2024-21626)",
			"TestHostileDockerfiles/workdir through a descriptor, TestHostileDockerfiles/workdir through every descriptor"},
		{"races about masked paths and /dev (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881)",
			"TestForbiddenThingsFail, TestMountTableHasOnlyTheStepsMounts"},
		{"image whose /dev is a symbolic link (CVE-2026-41579)",
			"TestHostileKernelDirectoriesAreRefused, TestHostileDockerfiles/dev is a symlink"},
		{"/etc/passwd as a symbolic link (CVE-2024-9676)", "TestAutoAgainstHostileImages, TestHostileUserDatabases"},
		{"component of a path that is swapped while a mount point is made", "TestSwappedMountPointIsNotTouched"},
		{"members of archives with `..`, absolute names, chains of links (CVE-2020-10696, CVE-2026-17106)",
			"TestHostileArchive, TestAnArchiveDoesNotWriteOutsideOfTheRoot, FuzzUnpack"},
		{"layer that overwrites files of the host (CVE-2025-11395)", "TestHostileArchivesLeaveNothingInTheStore"},
		{"malformed layers that leak descriptors (CVE-2026-114236)",
			"TestNoDescriptorStaysOpen, TestNoDescriptorOrMountOutlivesABuild"},
		{"digests that are paths, or aren't checked (CVE-2024-3727, CVE-2026-111361)",
			"TestWhatARegistryLiesAboutIsOneErrorInBoundedMemory, FuzzReadImage"},
		{"git reference that is an option, subdirectory that leads out",
			"TestParseGitRefusesWhatContradictsOrCouldBeAnOption, TestHostileRepositoriesAreHarmless"},
		{"files of the host through a repository (CVE-2022-39253)",
			"TestGitReadsNoDirectoriesUnlessToldOf, TestHostileSubmodulesAreRefused"},
		{"credentials in provenance and logs (CVE-2023-26054)", "TestNoSecretIsLeftAnywhere, TestRedactMasksEveryURLOfAText"},
		{"credentials for another host", "TestCredentialsGoToTheirHostOnly, TestGitCredentialsGoToTheirHostOnly"},
		{"cache key without HEALTHCHECK, ONBUILD or the base (CVE-2024-24557)",
			"TestEachPartOfAnInstructionIsInTheKey, TestTheKeyHasAllThatAStepCanSeeAndNoSecret"},
		{"environment of the host in a step (CVE-2021-3602, CVE-2026-57231)",
			"TestEnvironmentIsTheStepsOwn, TestProxiesOfTheEnvironmentAreGivenIfAskedAndNotGivenOtherwise"},
		{"inheritable capabilities (CVE-2022-27651)", "TestCapabilities"},
		{"sockets that go round the system call filter (CVE-2026-123876)",
			"TestSystemCallFilter, TestOlderProgramsMakeNoSocketsUnseen"},
		{"labels and annotations that switch the sandbox off (CVE-2026-94603)",
			"TestHostileDockerfiles/labels that runtimes obey"},
		{"panics (CVE-2024-23650), endless files of users",
			"FuzzPlan, FuzzParse, TestHostileUserDatabases, TestWorkAndMemoryAreBounded"},
		{"keys of the kernel, which no namespace separates", "TestNoStepReachesTheCallersKeys"},
		{"file handle of the caller's mount namespace", "TestStepsWithAllCapabilitiesStayInTheirMounts"},
		{"abstract sockets of the host", "TestStepsDontReachTheHostsAbstractSockets"},
		{"agents and servers in the context", "TestStepsDontReachWhatLivesInTheContext"},
		{"directory or file that a step hands on and others go on writing to", "TestNobodyWritesAfterTheStep"},
		{"device nodes of the step or the image", "TestDeviceNodesOfTheImageAreNoDevices, TestForbiddenThingsFail"},
		{"core dump with secrets, in the layer or with the host's handler", "TestStepsDumpNoCore"},
		{"profile of system calls that makes an endless program", "TestHostileProfilesAreRefused, FuzzProfile"},
		{"archives and registries that fill memory or disk", "TestABombIsUnpackedOrRefusedInBoundedMemory"},
		{"links of other users in the place of an output", "TestOutputsFollowNobodyElsesLinks, TestKeptBundleFollowsNoLink"},
		{"some 250 ways out that are tried one by one", "TestNoWayLeadsOutOfAStep"},
	}
}

// TestEveryAttackHasATest: the table in docs/security.md names tests that there are. -update writes it.
func TestEveryAttackHasATest(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../docs/security.md", "<!-- made by go test ./tests -run EveryAttack -update -->\n",
		"<!-- end of attacks -->\n"
	there := namesOfTests(t)
	table := "| attack | tests |\n|---|---|\n"
	for _, a := range attacks() {
		var shown []string
		for test := range strings.SplitSeq(a.tests, ", ") {
			name, part, _ := strings.Cut(test, "/")
			if text, ok := there[name]; !ok || !strings.Contains(text, part) {
				t.Errorf("%s: there is no test %s", a.what, test)
			}
			shown = append(shown, "`"+test+"`")
		}
		table += "| " + a.what + " | " + strings.Join(shown, ", ") + " |\n"
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks", file)
	}
	want := before + begin + table + end + after
	if *updateGolden {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Errorf("%s is out of date: go test ./tests -run EveryAttack -update", file)
	}
}

// namesOfTests gives, by its name, the text of the file of each test.
func namesOfTests(t *testing.T) map[string]string {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	there := map[string]string{}
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			there[m[1]] += string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}
