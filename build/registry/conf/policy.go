package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.podman.io/storage/pkg/configfile"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Policy is what policy.json says on which images may be used. The zero value accepts every image.
type Policy struct {
	file       string
	Default    []requirement                       `json:"default"`
	Transports map[string]map[string][]requirement `json:"transports"`
}

type requirement struct {
	Type string `json:"type"`
}

// LoadPolicy reads the policy of the user or the system. A machine without one accepts any image, as with docker.
func LoadPolicy() (Policy, error) {
	var p Policy
	files := configfile.File{Name: "policy", Extension: "json", DoNotLoadDropInFiles: true,
		EnvironmentName: "CONTAINERS_POLICY_JSON"}
	for item, err := range configfile.Read(&files) {
		if err != nil {
			return p, fmt.Errorf("read signature policy: %w", err)
		}
		text, err := io.ReadAll(item.Reader)
		if err == nil {
			p, err = parsePolicy(text)
		}
		if err != nil {
			return p, fmt.Errorf("signature policy %s: %w", item.Name, err)
		}
		p.file = item.Name
	}
	return p, nil
}

func parsePolicy(text []byte) (Policy, error) {
	var p Policy
	d := json.NewDecoder(strings.NewReader(string(text)))
	if err := d.Decode(&p); err != nil {
		return p, err
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(text, &top); err != nil {
		return p, err
	}
	for key := range top {
		if key != "default" && key != "transports" {
			return p, fmt.Errorf("unknown key %q", key) // an ignored misspelt key could weaken the policy
		}
	}
	if len(p.Default) == 0 {
		return p, errors.New("\"default\" is missing or empty")
	}
	for transport, scopes := range p.Transports {
		for scope, all := range scopes {
			if len(all) == 0 {
				return p, fmt.Errorf("scope %q of %s is empty", scope, transport)
			}
		}
	}
	return p, nil
}

// Check tells whether an image of a registry may be used.
func (p Policy) Check(ref reference.Reference) error {
	all, scope := p.requirements(ref)
	for _, r := range all {
		switch r.Type {
		case "insecureAcceptAnything":
		case "reject":
			return fmt.Errorf("%s rejects images of %s", p.file, scope)
		case "signedBy", "sigstoreSigned", "signedBaseLayer":
			return fmt.Errorf("%s demands a signature (%s) of images of %s, and cooper can't check signatures\n"+
				"hint: fetch the image with podman pull %s, which checks it, or change that scope", p.file, r.Type, scope, ref)
		default:
			return fmt.Errorf("%s: scope %s has a requirement of unknown type %q", p.file, scope, r.Type)
		}
	}
	return nil
}

// requirements are the requirements of the scope that fits a reference best, with the name of that scope: the reference
// itself, then its repository and everything above it, the host's domains as *.DOMAIN, the transport, the default.
func (p Policy) requirements(ref reference.Reference) ([]requirement, string) {
	scopes := p.Transports["docker"]
	ref = ref.WithLatest()
	if ref.Digest != "" {
		ref.Tag = ""
	}
	if all, ok := scopes[ref.String()]; ok {
		return all, ref.String()
	}
	for name := ref.Name(); ; {
		if all, ok := scopes[name]; ok {
			return all, name
		}
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			break
		}
		name = name[:slash]
	}
	host, _, _ := strings.Cut(ref.Domain, ":")
	for _, domain, ok := strings.Cut(host, "."); ok; _, domain, ok = strings.Cut(domain, ".") {
		if all, ok := scopes["*."+domain]; ok {
			return all, "*." + domain
		}
	}
	if all, ok := scopes[""]; ok {
		return all, "every registry"
	}
	return p.Default, "every source"
}
