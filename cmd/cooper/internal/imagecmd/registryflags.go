package imagecmd

import "github.com/spf13/pflag"

// registryFlags say how registries are spoken to.
type registryFlags struct {
	tlsVerify                bool
	authFile, certDir, creds string
}

// addRegistry declares the flags.
func (o *registryFlags) addRegistry(f *pflag.FlagSet) {
	f.StringVar(&o.creds, "creds", "", "USER:PASSWORD; others of this machine see it: cooper login is better")
	f.BoolVar(&o.tlsVerify, "tls-verify", true, "require HTTPS and a valid certificate of registries")
	f.StringVar(&o.authFile, "authfile", "", "file with registry credentials")
	f.StringVar(&o.certDir, "cert-dir", "", "directory with certificates for registries")
}
