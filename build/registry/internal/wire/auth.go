package wire

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/internal/printable"
)

const (
	// maxToken bounds the answer of a token server, in bytes.
	maxToken = 1 << 20
	// tokenLife is how long a token is valid if its server doesn't say; tokenMargin is how long before its end it is
	// renewed.
	tokenLife   = 60 * time.Second
	tokenMargin = 10 * time.Second
)

// The actions of a token's scope, with commas between them.
const (
	Pulls  = "pull"
	Pushes = "pull,push"
)

// Authorizer logs in to one repository and keeps the Authorization header that it has been granted.
type Authorizer struct {
	Client *http.Client
	Pace   Pace
	// Host is the HOST[:PORT] at which the registry is reached; Name is the name that the user gave it.
	Host, Name string
	// Path is the path of the repository in the registry, Actions what is to be done there, as in a scope ("pull,push").
	// From is another repository, from which blobs are to be mounted; empty: none.
	Path, Actions, From string
	// Find finds the credential for the repository.
	Find func(ctx context.Context) (credentials.Credential, error)

	mu      sync.Mutex
	header  string
	expires time.Time
}

// For is an authorizer for the same repository that may also read another one, from which blobs are to be mounted.
func (a *Authorizer) For(from string) *Authorizer {
	return &Authorizer{Client: a.Client, Pace: a.Pace, Host: a.Host, Name: a.Name, Path: a.Path, Actions: a.Actions,
		From: from, Find: a.Find}
}

// Current is the value for the Authorization header; empty if there is none yet.
func (a *Authorizer) Current() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.expires.IsZero() && time.Now().After(a.expires) {
		return ""
	}
	return a.header
}

// Renew gets a new header by the challenge in a response. used is the header that the response refused: if another
// request has obtained one in the meantime, Renew returns that, which isn't fresh: it may have ended since then.
func (a *Authorizer) Renew(ctx context.Context, resp *http.Response, used string) (header string, fresh bool,
	err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.header != "" && a.header != used && (a.expires.IsZero() || time.Now().Before(a.expires)) {
		return a.header, false, nil
	}
	if err := a.renew(ctx, resp); err != nil {
		return "", false, err
	}
	return a.header, true, nil
}

// renew gets a new header; mu is held.
func (a *Authorizer) renew(ctx context.Context, resp *http.Response) error {
	scheme, params := challenge(resp.Header.Values("Www-Authenticate"))
	if scheme == "" {
		return fmt.Errorf("%s wants to know who asks, and does not say how (%q)", a.Name,
			printable.Clip(resp.Header.Get("Www-Authenticate")))
	}
	c, err := a.Find(ctx)
	if err != nil {
		return err
	}
	switch {
	case scheme == "basic" && c.Username == "":
		return fmt.Errorf("%s wants a user name and a password\nhint: %s", a.Name, loginHint(a.Name))
	case scheme == "basic":
		a.header, a.expires = "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password)), time.Time{}
	default:
		params["scope"] = a.scope(params["scope"])
		token, life, err := a.token(ctx, params, c, resp.Request.URL.Scheme)
		if err != nil {
			return fmt.Errorf("log in to %s: %w", a.Name, err)
		}
		a.header, a.expires = "Bearer "+token, time.Now().Add(life)
	}
	return nil
}

// scope is the scope to request a token for; asked is the scope in the registry's challenge. Registries name only the
// actions that the request at hand needs. So that one token serves for all requests, scope puts the Authorizer's
// actions in the place of those. The repository's name stays the one in the challenge, since the registry may know the
// repository by another name than the user.
func (a *Authorizer) scope(asked string) string {
	all := strings.Fields(asked)
	if a.Path == "" { // a login check names no repository
		return asked
	}
	if len(all) == 0 {
		all = []string{"repository:" + a.Path + ":" + Pulls}
	}
	other, own := "repository:"+a.From+":", 0
	if i := slices.IndexFunc(all, func(s string) bool { return strings.HasPrefix(s, "repository:"+a.Path+":") }); i > 0 {
		own = i
	}
	if a.Actions != Pulls {
		all[own] = all[own][:strings.LastIndexByte(all[own], ':')+1] + a.Actions
	}
	if a.From != "" && !slices.ContainsFunc(all, func(s string) bool { return strings.HasPrefix(s, other) }) {
		all = append(all, other+Pulls)
	}
	return strings.Join(all, " ")
}

// token asks a token server. See https://distribution.github.io/distribution/spec/auth/token/ and, for identity tokens,
// .../oauth/
func (a *Authorizer) token(ctx context.Context, params map[string]string, c credentials.Credential,
	scheme string) (string,
	time.Duration, error) {
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
		return "", 0, fmt.Errorf("its token server %q has no usable address", printable.Clip(params["realm"]))
	}
	if scheme == "https" && realm.Scheme != "https" {
		return "", 0, fmt.Errorf("its token server %s is not secure, though the registry is", realm.Host)
	}
	if err := a.checkRealm(ctx, realm.Hostname()); err != nil {
		return "", 0, err
	}
	got, err := a.Pace.Ask(ctx, maxToken, func() (*http.Response, error) {
		req, err := tokenRequest(ctx, realm, params, c)
		if err != nil {
			return nil, err
		}
		resp, err := a.Client.Do(req)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = NewStatusError(resp, realm.Host)
		}
		return resp, err
	})
	if err != nil {
		return "", 0, fmt.Errorf("ask its token server %s: %w", realm.Host, err)
	}
	token, life, err := readToken(got.Text)
	if err != nil {
		return "", 0, fmt.Errorf("its token server %s gives %w", realm.Host, err)
	}
	return token, life, nil
}

func readToken(text []byte) (token string, life time.Duration, err error) {
	var t struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return "", 0, fmt.Errorf("no JSON: %w", err)
	}
	if t.Token == "" {
		t.Token = t.AccessToken
	}
	if t.Token == "" || strings.ContainsAny(t.Token, "\r\n") {
		return "", 0, errors.New("no token")
	}
	life = tokenLife
	if t.ExpiresIn > 0 && t.ExpiresIn < int64(24*time.Hour/time.Second) {
		life = max(life, time.Duration(t.ExpiresIn)*time.Second)
	}
	return t.Token, life - tokenMargin, nil
}

func tokenRequest(ctx context.Context, realm *url.URL, params map[string]string,
	c credentials.Credential) (*http.Request, error) {
	query := realm.Query()
	if s := params["service"]; s != "" {
		query.Set("service", s)
	}
	if c.Identity != "" {
		query.Set("scope", params["scope"])
		query.Set("grant_type", "refresh_token")
		query.Set("refresh_token", c.Identity)
		query.Set("client_id", "cooper")
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(query.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	for scope := range strings.FieldsSeq(params["scope"]) {
		query.Add("scope", scope)
	}
	if c.Username != "" {
		query.Set("account", c.Username)
	}
	at := *realm
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err == nil && c.Username != "" {
		req.SetBasicAuth(c.Username, c.Password)
	}
	return req, err
}

// checkRealm refuses a token server at one of this machine's own addresses, such as a cloud's metadata service: the
// answer of that server, which may hold keys, would be sent to the registry as a token.
func (a *Authorizer) checkRealm(ctx context.Context, host string) error {
	if strings.EqualFold(host, hostname(a.Host)) || isLocal(a.Host) {
		return nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil //nolint:nilerr // a proxy may resolve a name that this machine can't
	}
	for _, addr := range addrs {
		if isOwn(addr) {
			return fmt.Errorf("its token server %s is at %s, on this machine or its link", printable.Clip(host), addr.Unmap())
		}
	}
	return nil
}

func isLocal(hostport string) bool {
	host := hostname(hostport)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func hostname(hostport string) string {
	u := url.URL{Host: hostport}
	return u.Hostname()
}

// challenge Pulls WWW-Authenticate headers and takes bearer before basic. RFC 9110, section 11.6.1; one challenge a
// header.
func challenge(headers []string) (scheme string, params map[string]string) {
	for _, h := range headers {
		name, rest, _ := strings.Cut(strings.TrimSpace(h), " ")
		switch name = strings.ToLower(name); name {
		case "bearer":
			return name, challengeParams(rest)
		case "basic":
			scheme, params = name, map[string]string{}
		}
	}
	return scheme, params
}

func challengeParams(text string) map[string]string {
	params := map[string]string{}
	for text != "" {
		key, rest, ok := strings.Cut(text, "=")
		if !ok {
			break
		}
		var value string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			value, rest = unquote(quoted)
		} else if end := strings.IndexAny(rest, ", "); end >= 0 {
			value, rest = rest[:end], rest[end:]
		} else {
			value, rest = rest, ""
		}
		params[strings.ToLower(strings.Trim(key, ", \t"))] = value
		text = rest
	}
	return params
}

// unquote Pulls a quoted string to its end.
func unquote(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

const maxRedirects = 10

// SafeRedirect follows redirects, and sends credentials to no host but the one that was asked first.
func SafeRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("it redirects without end")
	}
	for _, before := range via {
		if before.URL.Scheme != req.URL.Scheme || before.URL.Host != req.URL.Host {
			req.Header.Del("Authorization")
		}
	}
	return nil
}

// NoRedirect refuses to follow a redirect to another host or scheme, for requests whose URL or body has credentials in
// it.
func NoRedirect(req *http.Request, via []*http.Request) error {
	if req.URL.Scheme != via[0].URL.Scheme || req.URL.Host != via[0].URL.Host {
		return fmt.Errorf("its token server redirects to %s", req.URL.Host)
	}
	return SafeRedirect(req, via)
}
