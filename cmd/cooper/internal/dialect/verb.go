package dialect

import "slices"

// Verb makes docker's and podman's two words for one verb of cooper's into that verb: image ls is images.
func Verb(words []string) []string {
	if len(words) < 2 {
		return words
	}
	rest := words[2:]
	switch words[0] + " " + words[1] {
	case "image ls", "image list":
		return slices.Concat([]string{"images"}, rest)
	case "image rm", "image remove":
		return slices.Concat([]string{"rmi"}, rest)
	case "image build", "image diff", "image history", "image inspect", "image load", "image pull", "image push",
		"image save", "image tag", "image untag", "builder build", "builder prune":
		return words[1:]
	}
	return words
}
