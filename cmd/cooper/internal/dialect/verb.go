package dialect

// Verb makes docker's and podman's two words for a build, image build and builder build, one.
func Verb(words []string) []string {
	if len(words) < 2 {
		return words
	}
	switch words[0] + " " + words[1] {
	case "image build", "builder build", "builder prune":
		return words[1:]
	}
	return words
}
