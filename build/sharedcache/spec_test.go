package sharedcache_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/sharedcache"
)

func TestPlacesAreReadAsDockerAndPodmanWriteThem(t *testing.T) {
	t.Parallel()
	text := func(all []sharedcache.Spec) string {
		var words []string
		for _, s := range all {
			words = append(words, fmt.Sprintf("%s %s min=%v ignore=%v insecure=%v %s %d", s.Type, s.Where(), s.Min,
				s.IgnoreError, s.Insecure, s.Packing.Codec().Kind, s.Packing.Codec().Level))
		}
		return strings.Join(words, "; ")
	}
	for _, c := range []struct {
		read       func(string) ([]sharedcache.Spec, error)
		from, want string
	}{
		{sharedcache.From, "type=registry,ref=a.test/b:c", "registry a.test/b:c min=false ignore=false insecure=false gzip 0"},
		{sharedcache.From, "type=registry,ref=me/app:c", "registry docker.io/me/app:c min=false ignore=false insecure=false gzip 0"},
		{sharedcache.From, "a.test/b,c.test/d:e", "registry a.test/b:cooper-cache min=false ignore=false insecure=false gzip 0; " +
			"registry c.test/d:e min=false ignore=false insecure=false gzip 0"},
		{sharedcache.From, "type=local,src=/x", "local /x min=false ignore=false insecure=false gzip 0"},
		{sharedcache.To, "type=registry,ref=a.test/b:c,registry.insecure=true",
			"registry a.test/b:c min=true ignore=false insecure=true gzip 0"},
		{sharedcache.To, "a.test/b", "registry a.test/b:cooper-cache min=false ignore=false insecure=false gzip 0"},
		{sharedcache.To, "type=local,dest=x,mode=max,compression=zstd,compression-level=5,ignore-error=true",
			"local x min=false ignore=true insecure=false zstd 5"},
		{sharedcache.To, "type=registry,ref=a.test/b:c,mode=min,oci-mediatypes=true,image-manifest=true",
			"registry a.test/b:c min=true ignore=false insecure=false gzip 0"},
		{sharedcache.From, "type=http,url=https://me:word@a.test/team",
			"http https://a.test/team min=false ignore=false insecure=false gzip 0"},
		{sharedcache.To, "type=s3,bucket=box,prefix=p/,name=n,region=r,mode=max,endpoint_url=https://s3.test,use_path_style=true",
			"s3 s3://box/p/n min=false ignore=false insecure=false gzip 0"},
		{sharedcache.To, "type=inline", "inline inline min=true ignore=false insecure=false gzip 0"},
		{sharedcache.To, "type=gha,scope=main,mode=max,timeout=5m", "gha gha main min=false ignore=false insecure=false gzip 0"},
	} {
		got, err := c.read(c.from)
		if err != nil || text(got) != c.want {
			t.Errorf("%s: %s, %v, not %s", c.from, text(got), err, c.want)
		}
	}
}

func TestPlacesThatCannotBeAreRefusedByName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		read       func(string) ([]sharedcache.Spec, error)
		from, want string
	}{
		{sharedcache.From, "", "--cache-from"},
		{sharedcache.From, "type=registry", `key "ref" is missing`},
		{sharedcache.From, "ref=a.test/b", `key "type" is missing`},
		{sharedcache.From, "type=registry,ref=A B", `"A B"`},
		{sharedcache.From, "type=registry,ref=a.test/b,mode=max", `key "mode" isn't one that type=registry has here`},
		{sharedcache.From, "type=local,dest=x", `key "dest" isn't one`},
		{sharedcache.From, "type=local", `key "src" is missing`},
		{sharedcache.From, "type=azblob,name=x", "there is no cache of type=azblob here: type=registry"},
		{sharedcache.From, "type=http", `key "url" is no address`},
		{sharedcache.From, "type=http,url=ftp://x", `key "url" is no address`},
		{sharedcache.From, "type=s3,region=x", `key "bucket" is missing`},
		{sharedcache.From, "type=s3,bucket=x,endpoint_url=https://me:word@x", `endpoint_url=***`},
		{sharedcache.From, "type=s3,bucket=x,secret_access_key=word,use_path_style=maybe", `secret_access_key=***,use_path_style=maybe"`},
		{sharedcache.From, "type=s3,bucket=x,ref=y", `key "ref" isn't one that type=s3 has here`},
		{sharedcache.From, "type=gha,version=1", "version=1: GitHub has version 2"},
		{sharedcache.From, "type=gha,timeout=soon", "timeout=soon: must be a duration"},
		{sharedcache.From, "type=gha,scope=a#b", "scope=a#b: must have no #"},
		{sharedcache.From, "type=magic", `unknown type "magic"`},
		{sharedcache.From, "type=registry,alone", `"alone" is no KEY=VALUE`},
		{sharedcache.To, "type=inline,mode=max", `key "mode" isn't one that type=inline has here`},
		{sharedcache.From, "type=inline", "an image with a cache in it is read as type=registry,ref=IMAGE"},
		{sharedcache.To, "me/app", "hint: Docker's is docker.io/me/app"},
		{sharedcache.To, "a.test/b@sha256:" + strings.Repeat("0", 64), "by a tag, and not by a digest"},
		{sharedcache.To, "type=local,dest=x,mode=most", "mode=most: must be min or max"},
		{sharedcache.To, "type=local,dest=x,ignore-error=maybe", "ignore-error=maybe: must be true or false"},
		{sharedcache.To, "type=local,dest=x,compression=lz4", "compression=lz4"},
		{sharedcache.To, "type=local,dest=x,oci-mediatypes=false", "oci-mediatypes=false: must be true"},
		{sharedcache.To, `type=local,"dest`, "--cache-to"},
	} {
		if got, err := c.read(c.from); err == nil || got != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, not %s", c.from, got, err, c.want)
		}
	}
}

func TestTheAgeOfARecordIsADuration(t *testing.T) {
	t.Parallel()
	if ttl, err := sharedcache.TTL("36h"); err != nil || ttl != 36*time.Hour {
		t.Errorf("%v, %v", ttl, err)
	}
	for _, text := range []string{"-1h", "yesterday"} {
		if _, err := sharedcache.TTL(text); err == nil || !strings.Contains(err.Error(), "such as 24h") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
