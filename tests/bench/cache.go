package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const (
	// warmFiles are the large layers of a stage of which the image needs warmTaken, of warmMegabytes each: with the steps
	// that take them 20 steps, and 1 GiB of layers.
	warmFiles, warmTaken, warmMegabytes = 18, 2, 50
	// manySteps is how many steps a long build has.
	manySteps = 1000
)

// cacheRows are those of builds that need not do, or fetch, all again.
func cacheRows() []row {
	cached := func(b *bench, s *site, _ int) []string { return b.buildArgs(s) }
	return []row{
		{ID: "run1000", Work: "1,000 x `RUN true`, no cache", Containerfile: manyRuns(manySteps), Command: uncached,
			Limit: runsLimit(manySteps), Goal: goal{Wall: 5 * time.Second}},
		{ID: "run1000-cached", Work: "the same, fully cached", Containerfile: manyRuns(manySteps), Command: cached,
			Limit: startLimit(), Goal: goal{Wall: 100 * time.Millisecond}},
		{ID: "copy100k-cached", Work: "COPY of 100,000 files of 4 KiB, fully cached",
			Containerfile: copyOnly(inputLargeTree), Input: inputLargeTree, Command: cached, Limit: lookLimit(),
			Goal: goal{Wall: 120 * time.Millisecond}},
		{ID: "copy100k-changed", Work: "the same after one of the files has changed",
			Containerfile: copyOnly(inputLargeTree), Input: inputLargeTree, Fresh: true, Before: []action{justBuild},
			Command: changeAndBuild, Limit: linkTreeLimit(), Goal: goal{Wall: time.Second}},
		{ID: "cache-warm", Work: "20 steps with 1 GiB of layers in a remote cache, empty store, image of 100 MiB of them",
			Containerfile: manyLayers(), Image: imageBusybox, Fresh: true, Before: []action{buildToCache},
			Command: buildFromCache, Limit: pullTakenLimit(), Goal: goal{OfLimit: 1.2}},
	}
}

func uncached(b *bench, s *site, _ int) []string { return b.buildArgs(s, "--no-cache") }

// changeAndBuild adds a line to a file of the tree, and builds.
func changeAndBuild(b *bench, s *site, n int) []string {
	file := filepath.Join(s.Context, inputLargeTree, treeFile(largeTreeFiles/2))
	script := []string{"sh", "-c", `echo "$0" >>"$1" && shift && exec "$@"`, fmt.Sprint(n), file}
	return append(script, b.buildArgs(s)...)
}

// linkTreeLimit makes hard links to all files of the tree, and hashes them as a layer has to be.
func linkTreeLimit() limit {
	return limit{"`cp -al` of the context, then a tar stream of it through sha256",
		func(ctx context.Context, _ *bench, s *site, n int) error {
			to := filepath.Join(s.Home, fmt.Sprintf("limit-%d", n))
			if _, _, err := s.run(ctx, "cp", "-al", filepath.Join(s.Context, inputLargeTree), to); err != nil {
				return err
			}
			return tarTree(sha256.New(), to)
		}}
}

// manyLayers is a Containerfile with a stage of many large layers, and an image that needs few of its files.
func manyLayers() string {
	var b strings.Builder
	base := "FROM " + registryMark + "/" + imageBusybox
	b.WriteString(base + " AS made\n")
	for n := range warmFiles {
		fmt.Fprintf(&b, "RUN dd if=/dev/urandom of=/file-%d bs=1M count=%d 2>/dev/null\n", n, warmMegabytes)
	}
	b.WriteString(base + "\n")
	for n := range warmTaken {
		fmt.Fprintf(&b, "COPY --from=made /file-%d /\n", n)
	}
	return b.String()
}

// warmImage is the image of manyLayers, and warmCache where its steps are kept.
func warmImage(b *bench, n int) string { return b.pushed("warm", n) }

func warmCache(b *bench, n int) string {
	return "type=registry,ref=" + b.pushed("warm-cache", n) + ",mode=max,compression=zstd"
}

// buildToCache fills the cache, and pushes the image.
func buildToCache(b *bench, s *site, n int) []string {
	return b.buildArgs(s, "--cache-to", warmCache(b, n), "-o",
		"type=image,push=true,compression=zstd,force-compression=true,name="+warmImage(b, n))
}

// elsewhere are flags for an empty store.
func elsewhere(s *site, name string) []string {
	return []string{"--root", filepath.Join(s.Home, name), "--runroot", filepath.Join(s.runtimeDir(), name)}
}

// buildFromCache builds in an empty store.
func buildFromCache(b *bench, s *site, n int) []string {
	from, _, _ := strings.Cut(warmCache(b, n), ",mode=")
	return b.buildArgs(s, append(elsewhere(s, "warm"), "--cache-from", from)...)
}

// pullTakenLimit pulls the image that manyLayers gives.
func pullTakenLimit() limit {
	return limit{"`cooper pull` of the image that comes of it", func(ctx context.Context, b *bench, s *site, n int) error {
		argv := append([]string{b.cooperPath(), "pull", "-q", "--tls-verify=false"}, elsewhere(s, "pulled")...)
		_, _, err := s.run(ctx, append(argv, warmImage(b, n))...)
		return err
	}}
}
