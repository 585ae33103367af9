// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
	"vault-plugin-ecgrid/internal/testcert"
)

// clientFor trusts this CA and no other.
func clientFor(t *testing.T, ca []byte) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: testcert.ClientConfig(ca)}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestServerURLs(t *testing.T) {
	t.Parallel()
	s := start(t, simulator.Options{}, simulator.ServerOptions{})
	if !strings.HasPrefix(s.SOAP, "http://127.0.0.1:") || !strings.HasSuffix(s.SOAP, "/v4.1/prod/ECGridOS.asmx") || s.WSDL != s.SOAP+"?WSDL" || s.CACert != nil {
		t.Errorf("URLs %s, %s", s.SOAP, s.WSDL)
	}
	resp, err := http.Get(s.WSDL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), `location="`+s.SOAP+`"`) {
		t.Errorf("the WSDL does not have the address %s: %v", s.SOAP, err)
	}
	for _, url := range []string{s.REST + "/users/me", s.Admin + "/state"} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound {
			t.Errorf("%s is missing", url)
		}
	}
	if s.Connections() == 0 {
		t.Error("no connection was counted")
	}
}

func TestServerTLS(t *testing.T) {
	t.Parallel()
	s := start(t, simulator.Options{}, simulator.ServerOptions{TLS: true, Hosts: []string{"ecgrid.test"}})
	trusting := clientFor(t, s.CACert)
	for _, url := range []string{s.WSDL, strings.Replace(s.WSDL, "127.0.0.1", "localhost", 1)} {
		resp, err := trusting.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.TLS.Version < tls.VersionTLS12 {
			t.Error("TLS below 1.2")
		}
	}
	if resp, err := clientFor(t, nil).Get(s.WSDL); err == nil {
		resp.Body.Close()
		t.Error("a client without the CA trusts the server")
	}
	named := clientFor(t, s.CACert)
	named.Transport.(*http.Transport).TLSClientConfig.ServerName = "ecgrid.test"
	resp, err := named.Get(s.WSDL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// A certificate of the caller's own replaces the one of a new CA.
func TestServerCertificate(t *testing.T) {
	t.Parallel()
	authority, err := testcert.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, simulator.Options{}, simulator.ServerOptions{Certificate: &cert})
	if s.CACert != nil || !strings.HasPrefix(s.REST, "https://") {
		t.Errorf("CACert is %q, REST is %s", s.CACert, s.REST)
	}
	resp, err := clientFor(t, authority.PEM).Get(s.WSDL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestServerOnAllAddresses(t *testing.T) {
	t.Parallel()
	s := start(t, simulator.Options{}, simulator.ServerOptions{Listen: "0.0.0.0:0"})
	if !strings.HasPrefix(s.SOAP, "http://127.0.0.1:") {
		t.Errorf("soap is %s, which no client can connect to", s.SOAP)
	}
}

func TestServerClose(t *testing.T) {
	t.Parallel()
	s, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if resp, err := http.Get(s.WSDL); err == nil {
		resp.Body.Close()
		t.Error("still listening")
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	if _, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{Listen: "not an address"}); err == nil {
		t.Error("an invalid address was accepted")
	}
	if _, err := simulator.Start(simulator.Options{Users: []simulator.User{{}}}, simulator.ServerOptions{}); err == nil {
		t.Error("a user without a name was accepted")
	}
}
