package sharedcache

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// Bucket is where a cache of type S3 is, and who asks for it. Empty fields are found in AWS's variables and files.
type Bucket struct {
	Name, Region string
	// Prefix begins the names of all objects; BlobsPrefix and ManifestsPrefix follow it, and are "blobs/" and "manifests/"
	// if they are empty.
	Prefix, BlobsPrefix, ManifestsPrefix string
	// PathStyle has the bucket's name in the path of addresses, and not before the server's name.
	PathStyle                                  bool
	AccessKeyID, SecretAccessKey, SessionToken string
}

// Service is the cache service of GitHub Actions: the fields that are not found in the variables of a job.
type Service struct{ Token string }

// keys are those that a type has. Docker has some that only say how BuildKit goes about it: they are taken, and do
// nothing.
func keys(t Type, writes bool) []string {
	has := map[Type][]string{
		Registry: {"ref", "registry.insecure"},
		Local:    {"src"},
		HTTP:     {"url", "name"},
		S3: {
			"bucket", "region", "name", "prefix", "blobs_prefix", "manifests_prefix", "endpoint_url", "use_path_style",
			"access_key_id", "secret_access_key", "session_token", "touch_refresh", "upload_parallelism",
		},
		GHA: {"scope", "url", "url_v2", "token", "timeout", "version", "ghtoken", "repository"},
	}[t]
	if t == Local && writes {
		has = []string{"dest"}
	}
	has = append([]string{"type"}, has...)
	if t == Inline {
		return has
	}
	if writes {
		has = append(has, "mode", "mounts", "ignore-error", "compression", "compression-level", "force-compression",
			"oci-mediatypes", "image-manifest")
	}
	return has
}

// hiddenKeys are the keys whose values no error shows.
const hiddenKeys = " access_key_id secret_access_key session_token token ghtoken url url_v2 endpoint_url "

// hidden is the value of a flag without its secrets.
func hidden(text string) string {
	fields := strings.Split(text, ",")
	for i, field := range fields {
		key, value, is := strings.Cut(field, "=")
		name := " " + strings.ToLower(strings.Trim(key, " \"")) + " "
		if is && value != "" && strings.Contains(hiddenKeys, name) {
			fields[i] = key + "=***"
		}
	}
	return strings.Join(fields, ",")
}

// fillPlace sets where the place is.
func (s *Spec) fillPlace(values map[string]string, writes bool) (err error) {
	switch s.Type {
	case Registry:
		if values["ref"] == "" {
			return errors.New(`key "ref" is missing: the name of the cache, as in ref=REGISTRY/NAME:TAG`)
		}
		s.Ref, err = refOf(values["ref"], writes)
		return err
	case HTTP:
		s.URL, s.Name = values["url"], cmp.Or(values["name"], Tag)
		if u, err := url.Parse(s.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New(`key "url" is no address, such as url=https://cache.example.com/team`)
		}
		return nil
	case S3:
		return s.fillBucket(values)
	case GHA:
		return s.fillService(values)
	case Inline:
		return nil
	case Local:
	}
	key := "src"
	if writes {
		key = "dest"
	}
	if s.Dir = values[key]; s.Dir == "" {
		return fmt.Errorf("key %q is missing: the directory of the cache", key)
	}
	return nil
}

func (s *Spec) fillBucket(values map[string]string) error {
	s.Bucket = Bucket{
		Name: cmp.Or(values["bucket"], os.Getenv("AWS_BUCKET")), Region: values["region"], Prefix: values["prefix"],
		BlobsPrefix: values["blobs_prefix"], ManifestsPrefix: values["manifests_prefix"],
		AccessKeyID: values["access_key_id"], SecretAccessKey: values["secret_access_key"],
		SessionToken: values["session_token"],
	}
	s.URL, s.Name = values["endpoint_url"], cmp.Or(values["name"], Tag)
	if s.Bucket.Name == "" {
		return errors.New(`key "bucket" is missing: the bucket of the cache`)
	}
	if u, err := url.Parse(s.URL); s.URL != "" && (err != nil || u.Host == "" || u.User != nil ||
		u.Scheme != "http" && u.Scheme != "https") {
		return errors.New(`key "endpoint_url" is no address without a user, such as endpoint_url=https://s3.example.com`)
	}
	return nil
}

func (s *Spec) fillService(values map[string]string) (err error) {
	s.URL, s.Service = values["url_v2"], Service{values["token"]} // url is that of version 1, which is no more
	s.Name = cmp.Or(values["scope"], Tag)
	if version := values["version"]; version != "" && version != "2" {
		return fmt.Errorf("version=%s: GitHub has version 2 of its cache service only", version)
	}
	if text := values["timeout"]; text != "" {
		if s.Patience, err = time.ParseDuration(text); err != nil || s.Patience <= 0 {
			return fmt.Errorf("timeout=%s: must be a duration, such as 10m", text)
		}
	}
	if strings.ContainsAny(s.Name, "#,") {
		return fmt.Errorf("scope=%s: must have no # and no comma", s.Name)
	}
	return nil
}

// fillMounts sets which cache mounts are written.
func (s *Spec) fillMounts(values map[string]string) error {
	text, given := values["mounts"]
	if !given {
		return nil
	}
	for id := range strings.SplitSeq(text, ",") {
		switch id = strings.TrimSpace(id); id {
		case "":
			return fmt.Errorf("mounts=%s: must be all, or IDs of cache mounts with commas between them", text)
		case "all":
			s.AllMounts = true
		default:
			s.Mounts = append(s.Mounts, id)
		}
	}
	return nil
}

// TakesMount tells whether the content of a cache mount is written, by its ID.
func (s Spec) TakesMount(id string) bool { return s.AllMounts || slices.Contains(s.Mounts, id) }
