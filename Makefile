# cooper: the things there are to do. `make` alone builds.
#
#   build   ./bin/cooper, one static binary, and ./bin/cooper-bake, which reads bake files for it
#   demo    set up what is missing, build cooper, build an image with it, run a program of that image
#   test    set up what is missing, then every test (as root: the ones that need an ordinary user make one; as an ordinary user: those that
#           need root run in a user namespace, and TestAsRoot... is not started)
#   test-fast  the unit and contract tests, with fewer rounds: no other tools, a minute and a half on two processors
#   fuzz    each fuzz target of the tree for FUZZTIME (10m)
#   soak    builds, prunes, removals of images and writers of caches in one store for SOAK (3m), as root and as a user, many of them killed
#   lint    golangci-lint, pinned, with the linters of .golangci.yml
#   bench   measure beside limit programs and buildah; writes docs/benchmarks.{json,md}. BENCHFLAGS has flags for it:
#           '-rows images -runs 3 -buildah ""' are the rows of images that come and leave, in some minutes
#   reference  write docs/reference anew, from the commands
#   man     write the man pages to bin/man
#   clean   remove what the targets above made in this tree

MODULE  := github.com/cooperbuild/cooper
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TAGS    := containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_zfs
LDFLAGS := -s -w -X main.version=$(VERSION)
GO      ?= go

# One place says how cooper is compiled, so that build, test and lint look at the same code.
GOBUILDFLAGS := -tags=$(TAGS) -trimpath -buildvcs=false
export CGO_ENABLED = 0

# A GOROOT/bin that is not in PATH is the usual case after unpacking a Go release, under sudo above all.
export PATH := $(PATH):/usr/local/go/bin

GOLANGCI_VERSION := 2.12.2
GOLANGCI := bin/tools/golangci-lint-$(GOLANGCI_VERSION)

TESTFLAGS  ?=
# Tests wait for processes and disks more than they compute: more packages at a time than there are processors.
TESTPACKAGES := -p=$(shell expr 2 \* $$(nproc))
# The linter's govet knows all that go test would have vet look for, and more; it looks at each package once.
TESTPACKAGES += -vet=off
BENCHFLAGS ?=

.PHONY: all build setup setup-tests demo test test-fast soak fuzz lint bench reference man tags clean
.NOTPARALLEL:

all: build

BIN ?= bin/cooper

build:
	@mkdir -p $(dir $(BIN))
	$(GO) build $(GOBUILDFLAGS) -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/cooper
	$(GO) build $(GOBUILDFLAGS) -ldflags '-s -w' -o $(dir $(BIN))cooper-bake ./cmd/cooper-bake

tags:
	@echo '$(TAGS)'

setup:
	sh contrib/setup.sh

setup-tests:
	sh contrib/setup.sh --tests

demo: setup build
	sh contrib/examples/hello/demo.sh bin/cooper

# The tests of packages that need neither other tools nor minutes: for the time between two edits.
test-fast:
	$(GO) test $(GOBUILDFLAGS) $(TESTPACKAGES) -short -timeout 30m $(TESTFLAGS) $$($(GO) list $(GOBUILDFLAGS) ./... | grep -v '/tests')

# The end-to-end tests run the binary that `build` makes; COOPER tells them where it is. The time after which all is
# ended is for tests that hang, not for a machine that is slow. What takes longest begins first: packages are tested in
# the order in which they are named here, once each.
test: setup-tests build
	COOPER=$(CURDIR)/bin/cooper $(GO) test $(GOBUILDFLAGS) $(TESTPACKAGES) -timeout 2h $(TESTFLAGS) ./tests ./executor ./...

SOAK ?= 3m
soak: setup-tests build
	SOAK=$(SOAK) COOPER=$(CURDIR)/bin/cooper $(GO) test -tags=$(TAGS),soak -trimpath -buildvcs=false -run '^TestSoak$$' -v -timeout 0 $(TESTFLAGS) ./tests

# The inputs that are committed run with every test; this looks for new ones, one target after the other.
FUZZTIME ?= 10m
fuzz:
	@set -e; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$dir/*_test.go); do \
			echo "$$dir $$name"; \
			$(GO) test $(GOBUILDFLAGS) -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $(TESTFLAGS) $$dir; \
		done; \
	done

# The linter holds the whole tree in memory, and spends nearly half of its time on looking for what it could give back
# unless it is told to look seldom, up to a limit.
lint: $(GOLANGCI)
	@out=$$(gofmt -l -s $$(find . -name '*.go' -not -path './bin/*')); \
	if [ -n "$$out" ]; then echo "gofmt -s would change:"; echo "$$out"; exit 1; fi
	GOGC=400 GOMEMLIMIT=4GiB GOLANGCI_LINT_CACHE=$(CURDIR)/bin/lint-cache $(GOLANGCI) run ./...

# Compiling the linter takes minutes: a copy of the right version that is there already is taken as it is.
$(GOLANGCI):
	@mkdir -p $(@D)
	@for have in "$$($(GO) env GOBIN)/golangci-lint" "$$($(GO) env GOPATH)/bin/golangci-lint"; do \
		if [ -x "$$have" ] && "$$have" version | grep -q "version v\{0,1\}$(GOLANGCI_VERSION) "; then \
			cp "$$have" $@ && exit 0; \
		fi; \
	done; \
	echo "installing golangci-lint $(GOLANGCI_VERSION)"; \
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(GOLANGCI_VERSION) && \
	mv $(@D)/golangci-lint $@

bench: setup-tests build
	$(GO) build $(GOBUILDFLAGS) -o bin/bench ./tests/bench
	bin/bench -cooper bin/cooper -out docs $(BENCHFLAGS)

# What the commands say of themselves, as documents; a test fails when docs/reference is out of date.
reference:
	rm -f docs/reference/*.md
	$(GO) run $(GOBUILDFLAGS) ./cmd/cooper/internal/manual -reference docs/reference -flags docs/flags.md \
		-configuration docs/configuration.md

man:
	$(GO) run $(GOBUILDFLAGS) ./cmd/cooper/internal/manual -man bin/man

clean:
	rm -rf bin
