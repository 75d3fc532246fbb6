package objects

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/sharedcache"
)

// TestRequestsAreSignedAsTheExamplesOfAWS takes the examples of AWS's page "Authenticating Requests: Using the
// Authorization Header".
func TestRequestsAreSignedAsTheExamplesOfAWS(t *testing.T) {
	t.Parallel()
	s := signer{keys{id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, "us-east-1",
		func() time.Time { return time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC) }}
	for _, c := range []struct {
		method, path, body string
		header             map[string]string
		want               string
	}{
		{"GET", "/test.txt", "", map[string]string{"Range": "bytes=0-9"},
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"PUT", "/test$file.text", "Welcome to Amazon S3.", map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT",
			"X-Amz-Storage-Class": "REDUCED_REDUNDANCY"}, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"GET", "/?lifecycle", "", nil, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"GET", "/?max-keys=2&prefix=J", "", nil, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "https://examplebucket.s3.amazonaws.com"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range c.header {
			req.Header.Set(key, value)
		}
		if err := s.sign(req, sumOf([]byte(c.body))); err != nil {
			t.Fatal(err)
		}
		if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+c.want) {
			t.Errorf("%s %s: %s", c.method, c.path, got)
		}
	}
}

func TestWhoAsksIsFoundInVariablesAndFiles(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
		"AWS_PROFILE",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE",
		"AWS_SHARED_CREDENTIALS_FILE", "NETRC"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	write := func(name, text string) {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".aws/config", "[default]\nregion = eu-file-1\ns3 =\n  region = nested\n[profile team]\nregion=eu-team-1\nendpoint_url=https://s3.test\n")
	write(".aws/credentials", "# mine\n[default]\naws_access_key_id = fileid\naws_secret_access_key = filesecret\n"+
		"[team]\naws_access_key_id=teamid\naws_secret_access_key=teamsecret\naws_session_token=teamtoken\n")
	for what, c := range map[string]struct {
		spec sharedcache.Bucket
		env  map[string]string
		want account
	}{
		"files": {want: account{keys{"fileid", "filesecret", ""}, "eu-file-1", ""}},
		"profile": {env: map[string]string{"AWS_PROFILE": "team"}, want: account{keys{"teamid", "teamsecret", "teamtoken"},
			"eu-team-1", "https://s3.test"}},
		"variables": {env: map[string]string{"AWS_ACCESS_KEY_ID": "envid", "AWS_SECRET_ACCESS_KEY": "envsecret",
			"AWS_REGION": "eu-env-1"},
			want: account{keys{"envid", "envsecret", ""}, "eu-env-1", ""}},
		"spec": {spec: sharedcache.Bucket{AccessKeyID: "id", SecretAccessKey: "s", SessionToken: "t", Region: "r"},
			env: map[string]string{"AWS_ACCESS_KEY_ID": "envid"}, want: account{keys{"id", "s", "t"}, "r", ""}},
	} {
		t.Run(what, func(t *testing.T) {
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			got, err := findAccount(sharedcache.Spec{Type: sharedcache.S3, Bucket: c.spec})
			if err != nil || got != c.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	write(".netrc", "machine other login x password y\nmachine cache.test\n login me\n password mine\nmachine cache.test login no\ndefault login d password e\n")
	for host, want := range map[string]string{"cache.test": "me mine", "other": "x y", "third": "d e"} {
		if name, word, err := netrc(host); err != nil || name+" "+word != want {
			t.Errorf("%s: %s %s, %v", host, name, word, err)
		}
	}
}
