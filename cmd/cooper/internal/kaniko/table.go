package kaniko

// Kind is what becomes of a flag.
type Kind int

// The kinds.
const (
	// Meant flags have their meaning; Args.Build says which.
	Meant Kind = iota
	// Same flags are flags of the same name of a build.
	Same
	// Vain flags ask for what is always so, or for what there is no need of.
	Vain
	// Refused flags end the program, with the way that works.
	Refused
)

// A Flag is a row of the table.
type Flag struct {
	Name, Short string
	Kind        Kind
	// Switch says that the flag needs no value.
	Switch bool
	// Text says what it means, why it has no effect, or why it is refused; Way what works instead.
	Text, Way string
}

// Flags are all rows, by name.
func Flags() []Flag {
	const (
		noTLS  = "--tls-verify=false, for all registries"
		noRoot = "steps never see the files of the builder's own container"
		ca     = "the certificate as ca.crt in /etc/containers/certs.d/REGISTRY, or in --cert-dir of cooper build"
	)
	return []Flag{
		{Name: "annotation", Kind: Same},
		{Name: "build-arg", Kind: Same},
		{Name: "cache", Switch: true,
			Text: "steps are looked for in --cache-repo, and kept there; those of this machine are found in any case"},
		{Name: "cache-copy-layers", Kind: Vain, Switch: true, Text: "COPY is cached in any case"},
		{Name: "cache-dir", Kind: Vain, Text: "base images are kept in the store"},
		{Name: "cache-repo", Text: "--cache-from and --cache-to, with --cache"},
		{Name: "cache-run-layers", Kind: Vain, Switch: true, Text: "RUN is cached in any case"},
		{Name: "cache-ttl", Kind: Vain, Text: "what the cache finds is what the step would make"},
		{Name: "cleanup", Kind: Vain, Switch: true, Text: noRoot},
		{Name: "compressed-caching", Kind: Vain, Switch: true, Text: "memory is bounded in any case"},
		{Name: "compression", Text: "compression of the layers that are pushed: gzip or zstd"},
		{Name: "compression-level", Text: "its level"},
		{Name: "context", Short: "c",
			Text: "the context: a directory (also dir://), git://, https://, tar://FILE or tar://stdin"},
		{Name: "context-sub-path", Text: "the directory in the context"},
		{Name: "credential-helpers", Kind: Vain, Text: "those that the files with credentials name are asked"},
		{Name: "custom-platform", Text: "--platform"},
		{Name: "customPlatform", Text: "--platform"},
		{Name: "destination", Short: "d", Text: "--tag, and where the image is pushed to; may be repeated"},
		{Name: "digest-file", Text: "file for the digest of the manifest"},
		{Name: "dockerfile", Short: "f", Text: "--file: a path in the context, or of this machine"},
		{Name: "dockerignore-file", Text: "--ignorefile"},
		{Name: "force", Kind: Vain, Switch: true, Text: "cooper runs anywhere"},
		{Name: "git", Kind: Refused, Text: "options of git are part of the context",
			Way: "--context git://HOST/REPOSITORY.git#BRANCH; submodules are fetched in any case"},
		{Name: "ignore-path", Kind: Vain, Text: noRoot},
		{Name: "ignore-var-run", Kind: Vain, Switch: true, Text: noRoot},
		{Name: "image-download-retry", Text: "--retry"},
		{Name: "image-fs-extract-retry", Kind: Vain,
			Text: "layers are unpacked while they come; --image-download-retry counts"},
		{Name: "image-name-tag-with-digest-file", Text: "file for NAME:TAG@DIGEST of each destination"},
		{Name: "image-name-with-digest-file", Text: "file for NAME@DIGEST of each destination"},
		{Name: "initial-fs-unpacked", Kind: Vain, Switch: true, Text: noRoot},
		{Name: "insecure", Switch: true, Text: noTLS},
		{Name: "insecure-pull", Switch: true, Text: noTLS},
		{Name: "insecure-registry", Text: noTLS},
		{Name: "kaniko-dir", Kind: Vain, Text: "cooper has its files where containers/storage has them"},
		{Name: "label", Kind: Same},
		{Name: "log-format", Text: "json is --progress=json"},
		{Name: "log-timestamp", Kind: Vain, Switch: true, Text: "each line of a step has its time"},
		{Name: "materialize", Kind: Vain, Switch: true, Text: noRoot},
		{Name: "no-push", Switch: true, Text: "the image stays in the store"},
		{Name: "no-push-cache", Switch: true, Text: "nothing is kept in --cache-repo"},
		{Name: "oci-layout-path", Text: "--output type=oci,dest=DIR,tar=false"},
		{Name: "platform", Kind: Same},
		{Name: "pre-cleanup", Kind: Vain, Switch: true, Text: noRoot},
		{Name: "preserve-context", Kind: Vain, Switch: true, Text: "the context is never changed"},
		{Name: "push-ignore-immutable-tag-errors", Kind: Refused, Switch: true, Text: "a tag that can't be set is an error",
			Way: "cooper buildx imagetools inspect NAME tells beforehand whether the tag is there"},
		{Name: "push-retry", Text: "--retry"},
		{Name: "registry-certificate", Kind: Refused, Text: "certificates are found where podman's are", Way: ca},
		{Name: "registry-client-cert", Kind: Refused, Text: "certificates are found where podman's are",
			Way: "client.cert and client.key in /etc/containers/certs.d/REGISTRY"},
		{Name: "registry-map", Kind: Refused, Text: "mirrors are in registries.conf",
			Way: "[[registry]] with location and [[registry.mirror]] in ~/.config/containers/registries.conf"},
		{Name: "registry-mirror", Kind: Refused, Text: "mirrors are in registries.conf",
			Way: "[[registry]] location=\"docker.io\" and [[registry.mirror]] location=\"MIRROR\" in ~/.config/containers/registries.conf"},
		{Name: "reproducible", Switch: true, Text: "--timestamp=0"},
		{Name: "run-v2", Kind: Vain, Switch: true, Text: "changes are what a step has written"},
		{Name: "secret", Kind: Same},
		{Name: "single-snapshot", Switch: true, Text: "--squash"},
		{Name: "skip-default-registry-fallback", Kind: Vain, Switch: true,
			Text: "registries.conf says where images come from"},
		{Name: "skip-push-permission-check", Kind: Vain, Switch: true, Text: "the first request of the push tells"},
		{Name: "skip-tls-verify", Switch: true, Text: noTLS},
		{Name: "skip-tls-verify-pull", Switch: true, Text: noTLS},
		{Name: "skip-tls-verify-registry", Text: noTLS},
		{Name: "skip-unused-stages", Kind: Vain, Switch: true, Text: "stages that the target doesn't need are never built"},
		{Name: "snapshot-mode", Kind: Vain, Text: "changes are what a step has written"},
		{Name: "snapshotMode", Kind: Vain, Text: "changes are what a step has written"},
		{Name: "tar-path", Text: "--output type=docker,dest=FILE"},
		{Name: "tarPath", Text: "--output type=docker,dest=FILE"},
		{Name: "target", Kind: Same},
		{Name: "use-new-run", Kind: Vain, Switch: true, Text: "changes are what a step has written"},
		{Name: "verbosity", Short: "v", Text: "error, fatal and panic are --quiet"},
	}
}
