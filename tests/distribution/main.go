// Command distribution serves the registry of the distribution project, version 3, with the configuration file that it
// is given: the server that most registries are made of, without the storage drivers of clouds. It is a module of its
// own, so that what it needs is nothing that cooper needs.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"

	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "distribution:", err)
		os.Exit(1)
	}
}

func serve(file string) error {
	text, err := os.Open(file)
	if err != nil {
		return err
	}
	config, err := configuration.Parse(text)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr: config.HTTP.Addr, Handler: handlers.NewApp(context.Background(), config),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if config.HTTP.TLS.Certificate == "" {
		return server.ListenAndServe()
	}
	return server.ListenAndServeTLS(config.HTTP.TLS.Certificate, config.HTTP.TLS.Key)
}
