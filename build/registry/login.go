package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cooperbuild/cooper/build/registry/conf"
	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Login asks the registry of a key whether it knows the user whom the options name, and keeps the
// credentials in the file, whose path is where.
func Login(ctx context.Context, o Options, f credentials.File, key string) (where string, err error) {
	if err := CheckLogin(ctx, o, key); err != nil {
		return "", err
	}
	return credentials.Save(ctx, f, key, o.Username, o.Password)
}

// CheckLogin asks the registry of a key whether it lets in whom the options name.
func CheckLogin(ctx context.Context, o Options, key string) error {
	c, err := NewClient(o)
	if err != nil {
		return err
	}
	defer c.Close()
	host, _, _ := strings.Cut(key, "/")
	e, err := conf.Own(reference.Reference{Domain: host, Path: "x"})
	if err != nil {
		return err
	}
	repo, err := c.repository(e, wire.Pulls)
	if err != nil {
		return err
	}
	repo.auth.Path = "" // the request is for no repository
	if _, err := repo.url(ctx, "", nil); err != nil {
		return err
	}
	resp, err := repo.do(ctx, repo.auth, call{method: http.MethodGet, at: repo.scheme + "://" + repo.host + "/v2/"})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err := wire.NewStatusError(resp, host)
		if refused := new(wire.StatusError); errors.As(err, &refused) && refused.Code == http.StatusUnauthorized {
			return fmt.Errorf("%s does not know this user name with this password", host)
		}
		return err
	}
	return resp.Body.Close()
}
