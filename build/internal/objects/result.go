package objects

import (
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers of fields in messages of Bazel's remote execution protocol, version 2.
const (
	resultFiles = 2 // of an ActionResult: its OutputFiles
	filePath    = 1 // of an OutputFile
	fileDigest  = 2
	digestHash  = 1 // of a Digest: in hexadecimal digits
	digestSize  = 2
)

// resultOf is the result of an action that has made one file.
func resultOf(path string, d ocispec.Descriptor) []byte {
	var sum, file, result []byte
	sum = protowire.AppendString(protowire.AppendTag(sum, digestHash, protowire.BytesType), d.Digest.Encoded())
	sum = protowire.AppendVarint(protowire.AppendTag(sum, digestSize, protowire.VarintType),
		uint64(d.Size))
	file = protowire.AppendString(protowire.AppendTag(file, filePath, protowire.BytesType), path)
	file = protowire.AppendBytes(protowire.AppendTag(file, fileDigest, protowire.BytesType), sum)
	return protowire.AppendBytes(protowire.AppendTag(result, resultFiles, protowire.BytesType), file)
}

// firstFile is what the first file of an action's result has. Servers add fields to results.
func firstFile(result []byte) (ocispec.Descriptor, error) {
	file, _, err := field(result, resultFiles)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	sum, _, err := field(file, fileDigest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	hash, _, err := field(sum, digestHash)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	_, size, err := field(sum, digestSize)
	d := ocispec.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, string(hash)),
		Size: int64(size)}
	return d, errors.Join(err, d.Digest.Validate())
}

// field finds the first field of a number in a message: its bytes, or its number.
func field(message []byte, number protowire.Number) (text []byte, value uint64, err error) {
	for len(message) > 0 {
		at, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, 0, protowire.ParseError(n)
		}
		message = message[n:]
		size := protowire.ConsumeFieldValue(at, kind, message)
		if size < 0 {
			return nil, 0, protowire.ParseError(size)
		}
		if at == number && kind == protowire.BytesType {
			text, _ = protowire.ConsumeBytes(message)
			return text, 0, nil
		}
		if at == number && kind == protowire.VarintType {
			value, _ = protowire.ConsumeVarint(message)
			return nil, value, nil
		}
		message = message[size:]
	}
	return nil, 0, errors.New("it is no result of an action that has a file")
}
