// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
	"vault-plugin-ecgrid/internal/testcert"
)

// TestFIPS connects to servers that speak TLS with one algorithm only. A plugin in FIPS 140
// mode refuses what FIPS 140 does not approve. Another plugin accepts all of them, which shows
// that the servers work. scripts/fips.sh sets ECGRID_FIPS, and runs a plugin in that mode.
func TestFIPS(t *testing.T) {
	t.Parallel()
	fips := os.Getenv("ECGRID_FIPS") != ""
	for _, c := range []struct {
		name     string
		approved bool
		config   *tls.Config
	}{
		{"TLS 1.3 with P-256", true, &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}}},
		{"TLS 1.2 with AES-GCM and P-256", true, &tls.Config{
			MaxVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.CurveP256},
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		}},
		{"TLS 1.3 with X25519", false, &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}},
		{"TLS 1.2 with ChaCha20-Poly1305", false, &tls.Config{
			MaxVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.CurveP256},
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t, sharedVault(t))
			address, ca := m.behindTLS(t, c.config)
			config := m.loginConfig()
			config["url"] = strings.Replace(m.endpoint(), m.Addr, address, 1)
			config["ca_cert"] = ca
			if fips && !c.approved {
				m.wantStatus(t, http.StatusServiceUnavailable, http.MethodPost, m.at("config"), config)
				return
			}
			m.ok(t, http.MethodPost, m.at("config"), config)
			m.readKey(t, simulator.UserID5001)
		})
	}
}

// behindTLS puts a server with this TLS configuration before the simulator.
func (g *ecgrid) behindTLS(t *testing.T, config *tls.Config) (address, ca string) {
	t.Helper()
	authority, err := testcert.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := authority.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{certificate}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go g.forward(conn)
		}
	}()
	return listener.Addr().String(), string(authority.PEM)
}

func (g *ecgrid) forward(conn net.Conn) {
	defer conn.Close()
	if err := conn.(*tls.Conn).Handshake(); err != nil {
		return
	}
	upstream, err := tls.Dial("tcp", g.Addr, testcert.ClientConfig(g.CACert))
	if err != nil {
		return
	}
	defer upstream.Close()
	go func() {
		_, _ = io.Copy(upstream, conn)
		upstream.Close()
	}()
	_, _ = io.Copy(conn, upstream)
}
