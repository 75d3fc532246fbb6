package tests_test

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// TestALayerIsPushedWhileLaterStepsRun has the second step wait for the layer of the first to arrive in the registry.
func TestALayerIsPushedWhileLaterStepsRun(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		address, _ := s.startRegistry(t)
		s.busybox(t, "base")
		s.build(t, "-t", "base", "busybox")
		arrived := make(chan struct{}, 8)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				select {
				case <-arrived:
				case <-r.Context().Done():
				case <-t.Context().Done():
				}
				return
			}
			r.Host = l.Addr().String() // uploads go on through this proxy
			proxy.ServeHTTP(w, r)
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") {
				arrived <- struct{}{}
			}
		})}
		go func() { _ = server.Serve(l) }() // it ends with the test
		t.Cleanup(func() { _ = server.Close() })
		s.write(t, "ctx/Containerfile", "FROM base AS other\nRUN echo other >/other\nFROM base\nRUN echo first >/first\n"+
			"RUN timeout 300 wget -q -O /dev/null http://"+l.Addr().String()+"/wait && echo second >/second\n")
		s.build(t, "--tls-verify=false", "--network", "host", "--push", "-t", l.Addr().String()+"/lib/app:1", "ctx")
		if app, _ := s.remoteManifest(t, address+"/lib/app:1"); len(app.Layers) < 3 {
			t.Errorf("pushed %+v", app)
		}
		s.checkNoLeftovers(t)
	})
}
