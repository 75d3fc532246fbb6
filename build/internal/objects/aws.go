package objects

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/sharedcache"
)

// maxAWSFile is how many bytes of AWS's files are read.
const maxAWSFile = 1 << 20

// account is who asks an S3 server, and where: from the spec, else AWS's variables, else its files.
type account struct {
	keys
	region, endpoint string
}

func findAccount(spec sharedcache.Spec) (account, error) {
	s := spec.Bucket
	a := account{keys{s.AccessKeyID, s.SecretAccessKey, s.SessionToken}, s.Region, spec.URL}
	a.region = cmp.Or(a.region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	a.endpoint = cmp.Or(a.endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
	if a.id == "" && os.Getenv("AWS_ACCESS_KEY_ID") != "" {
		a.keys = keys{os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")}
	}
	if a.id != "" && a.region != "" {
		return a, nil
	}
	profile := cmp.Or(os.Getenv("AWS_PROFILE"), "default")
	config, err := section("AWS_CONFIG_FILE", "config", profile, "profile "+profile)
	if err != nil {
		return a, err
	}
	secrets, err := section("AWS_SHARED_CREDENTIALS_FILE", "credentials", profile)
	if err != nil {
		return a, err
	}
	a.region = cmp.Or(a.region, config["region"])
	a.endpoint = cmp.Or(a.endpoint, config["endpoint_url"])
	for _, from := range []map[string]string{secrets, config} {
		if a.id == "" {
			a.keys = keys{from["aws_access_key_id"], from["aws_secret_access_key"], from["aws_session_token"]}
		}
	}
	if a.region == "" {
		a.region = "us-east-1"
	}
	return a, nil
}

// section reads a section, by any of its names, of the file that a variable names, or else of the one in ~/.aws.
func section(variable, file string, names ...string) (map[string]string, error) {
	path := os.Getenv(variable)
	if path == "" {
		path = filepath.Join(os.Getenv("HOME"), ".aws", file)
	}
	text, err := readFile(path, maxAWSFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read AWS's file: %w", err)
	}
	values, ours := map[string]string{}, false
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			name, _, _ = strings.Cut(name, "]")
			ours = false
			for _, wanted := range names {
				ours = ours || strings.Join(strings.Fields(name), " ") == wanted
			}
			continue
		}
		// What is indented belongs to a value above, such as s3 =.
		if key, value, ok := strings.Cut(line, "="); ok && ours && !indented && line[0] != '#' && line[0] != ';' {
			values[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
		}
	}
	return values, nil
}
