package store

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/pkg/shortnames"
	"go.podman.io/image/v5/signature"
	istorage "go.podman.io/image/v5/storage"
	"go.podman.io/image/v5/types"

	"github.com/cooperbuild/cooper/userns"
)

// PullOptions say how to reach a registry.
type PullOptions struct {
	Platform ocispec.Platform
	// Insecure allows plain HTTP and certificates that can't be verified.
	Insecure bool
	AuthFile string
	CertDir  string
	// Mapping is the user namespace the image is unpacked in: IDs beyond it are reported all at once as *MissingIDs.
	Mapping *userns.Mapping
	// Progress is told what is being pulled; may be nil.
	Progress func(what string, done, total int64)
}

func (o PullOptions) system() *types.SystemContext {
	sys := &types.SystemContext{
		OSChoice: o.Platform.OS, ArchitectureChoice: o.Platform.Architecture, VariantChoice: o.Platform.Variant,
		AuthFilePath: o.AuthFile, DockerCertPath: o.CertDir, DockerRegistryUserAgent: "cooper",
	}
	if o.Insecure {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return sys
}

// Pull fetches an image into the store and returns it. A short name is resolved as registries.conf says, and to
// docker.io where it says nothing.
func (s *Store) Pull(ctx context.Context, name string, o PullOptions) (FoundImage, error) {
	refs, err := pullCandidates(name)
	if err != nil {
		return FoundImage{}, fmt.Errorf("pull %s: %w", name, err)
	}
	var errs []error
	for _, ref := range refs {
		err := s.pullOne(ctx, ref, o)
		if err == nil {
			return s.FindImage(ref.String())
		}
		if ctx.Err() != nil {
			return FoundImage{}, context.Cause(ctx)
		}
		if missing := new(MissingIDs); errors.As(err, &missing) {
			return FoundImage{}, err
		}
		errs = append(errs, fmt.Errorf("pull %s: %w", ref, err))
	}
	return FoundImage{}, errors.Join(errs...)
}

func pullCandidates(name string) ([]reference.Named, error) {
	resolved, err := shortnames.Resolve(&types.SystemContext{}, name)
	if err == nil && len(resolved.PullCandidates) > 0 {
		var refs []reference.Named
		for _, c := range resolved.PullCandidates {
			refs = append(refs, reference.TagNameOnly(c.Value))
		}
		return refs, nil
	}
	named, parseErr := reference.ParseNormalizedNamed(name)
	if parseErr != nil {
		return nil, fmt.Errorf("%q is not an image name: %w", name, parseErr)
	}
	return []reference.Named{reference.TagNameOnly(named)}, nil
}

func (s *Store) pullOne(ctx context.Context, named reference.Named, o PullOptions) error {
	src, err := docker.NewReference(named)
	if err != nil {
		return err
	}
	dst, err := istorage.Transport.NewStoreReference(s.store, named, "")
	if err != nil {
		return err
	}
	policy, err := policyContext()
	if err != nil {
		return err
	}
	defer policy.Destroy() //nolint:errcheck // it holds nothing that could be lost
	opts := &copy.Options{SourceCtx: o.system(), DestinationCtx: &types.SystemContext{}, RemoveSignatures: true}
	stop := reportProgress(opts, named.String(), o.Progress)
	_, err = copy.Image(ctx, policy, dst, src, opts)
	stop()
	if err != nil && strings.Contains(err.Error(), "insufficient UIDs or GIDs") && o.Mapping != nil {
		return scanOwners(ctx, src, o, err)
	}
	return err
}

// policyContext reads the signature policy; a machine without one accepts any image, as docker does.
func policyContext() (*signature.PolicyContext, error) {
	policy, err := signature.DefaultPolicy(nil)
	if errors.Is(err, os.ErrNotExist) {
		policy, err = &signature.Policy{Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read signature policy: %w", err)
	}
	return signature.NewPolicyContext(policy)
}

// reportProgress hands the library's progress on and returns the function that ends it.
func reportProgress(opts *copy.Options, name string, report func(string, int64, int64)) func() {
	if report == nil {
		return func() {}
	}
	ch := make(chan types.ProgressProperties)
	done := make(chan struct{})
	opts.Progress, opts.ProgressInterval = ch, 250*time.Millisecond
	go func() {
		defer close(done)
		for p := range ch {
			what := name
			if p.Artifact.Digest != "" {
				what += " " + p.Artifact.Digest.Encoded()[:12]
			}
			report(what, int64(p.Offset), p.Artifact.Size)
		}
	}()
	return func() { close(ch); <-done }
}

// scanOwners reads the headers of all layers to name every ID that is missing, not only the first.
func scanOwners(ctx context.Context, ref types.ImageReference, o PullOptions, cause error) error {
	sys := o.system()
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return errors.Join(cause, err)
	}
	defer src.Close() //nolint:errcheck // read only
	img, err := image.FromUnparsedImage(ctx, sys, image.UnparsedInstance(src, nil))
	if err != nil {
		return errors.Join(cause, err)
	}
	uids, gids := map[uint32]bool{}, map[uint32]bool{}
	for _, info := range img.LayerInfos() {
		blob, _, err := src.GetBlob(ctx, info, none.NoCache)
		if err != nil {
			return errors.Join(cause, err)
		}
		err = collectOwners(blob, uids, gids)
		if err = errors.Join(err, blob.Close()); err != nil {
			return errors.Join(cause, err)
		}
	}
	missing := &MissingIDs{
		Image: ref.StringWithinTransport(),
		UIDs:  o.Mapping.UIDs.Missing(keys(uids)), GIDs: o.Mapping.GIDs.Missing(keys(gids)),
	}
	if len(missing.UIDs)+len(missing.GIDs) == 0 {
		return cause
	}
	return missing
}

func collectOwners(blob io.Reader, uids, gids map[uint32]bool) error {
	plain, _, err := compression.AutoDecompress(blob)
	if err != nil {
		return err
	}
	defer plain.Close()
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		uids[uint32(h.Uid)] = true
		gids[uint32(h.Gid)] = true
	}
}

func keys(m map[uint32]bool) []uint32 {
	ids := make([]uint32, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	return ids
}
