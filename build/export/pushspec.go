package export

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// PushSpec says how an image is pushed.
type PushSpec struct {
	// ByDigest gives the image no tag in the registry, only its digest.
	ByDigest bool
	// Insecure allows plain HTTP and certificates that can't be verified.
	Insecure bool
	// Format is the format of the manifest; empty: the format of the image in the store.
	Format imagebuilder.Format
}

// hasManifest tells whether an output has a manifest with annotations.
func (s Spec) hasManifest() bool {
	return s.Type == TypeOCI || s.IsImage()
}

// fillPush sets the fields of Push from the values of an --output.
func (s *Spec) fillPush(values map[string]string) error {
	var push PushSpec
	wanted, mediaTypes := s.Type == TypeRegistry, true
	for _, f := range []struct {
		key string
		is  *bool
	}{
		{"push", &wanted}, {"push-by-digest", &push.ByDigest},
		{"registry.insecure", &push.Insecure}, {"oci-mediatypes", &mediaTypes},
	} {
		text, ok := values[f.key]
		if !ok {
			continue
		}
		is, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%s=%s: must be true or false", f.key, text)
		}
		*f.is = is
	}

	if _, asked := values["oci-mediatypes"]; asked {
		push.Format = imagebuilder.Docker
		if mediaTypes {
			push.Format = imagebuilder.OCI
		}
	}
	if s.Type == TypeRegistry && !wanted {
		return errors.New("type=registry is always pushed; push=false is type=image")
	}

	if wanted {
		s.Push = &push
		return nil
	}

	for _, key := range []string{"compression", "compression-level", "force-compression", "oci-mediatypes",
		"push-by-digest", "registry.insecure"} {
		if _, ok := values[key]; ok {
			return fmt.Errorf("key %q has a meaning with push=true only", key)
		}
	}

	if len(s.Annotations) > 0 {
		return errors.New("annotations have a meaning with push=true only")
	}
	return nil
}

func (s Spec) checkPush() error {
	if err := s.checkCompression(); err != nil {
		return err
	}
	if s.Push != nil && s.Push.Format == imagebuilder.Docker {
		switch {
		case s.Compression == Zstd || s.Compression == ZstdChunked:
			return errors.New("the format of Docker has no zstd: leave out oci-mediatypes=false, or take compression=gzip")
		case s.Compression == EStargz:
			return errors.New("the format of Docker has no eStargz: leave out oci-mediatypes=false, or take compression=gzip")
		case len(s.Annotations) > 0:
			return errors.New("the format of Docker has no annotations: leave out oci-mediatypes=false")
		}
	}
	names := slices.Clone(s.Names)
	_, err := parseNames(names)
	return err
}

// Codec gives the codec for the layers of an output.
func (s Spec) Codec() Codec { return Codec{s.compression(), s.Level} }
