package acceptance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func jsonBody(v any) (io.Reader, error) {
	if v == nil {
		return nil, nil
	}
	raw, err := json.Marshal(v)
	return bytes.NewReader(raw), err
}

func (a answer) decode(into any) error { return json.Unmarshal(a.body, into) }

// ok fails the test unless the request was carried out.
func (c *client) ok(t *testing.T, method, path string, body any) answer {
	t.Helper()
	a, err := c.do(method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.Status < 200 || a.Status > 299 {
		t.Fatalf("%s %s: HTTP %d: %s", method, path, a.Status, a.body)
	}
	return a
}

// refused fails the test unless the request is answered with this status and a
// reason. It asks once: Vault's own client would repeat some of them.
func (c *client) refused(t *testing.T, status int, method, path string, body any) answer {
	t.Helper()
	a, err := c.do(method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.Status != status {
		t.Errorf("%s %s: HTTP %d, want %d: %s", method, path, a.Status, status, a.body)
	}
	if a.Status >= 400 && (len(a.Errors) == 0 || a.Errors[0] == "") {
		t.Errorf("%s %s: HTTP %d without a reason: %s", method, path, a.Status, a.body)
	}
	return a
}

func (c *client) read(t *testing.T, path string) answer {
	t.Helper()
	return c.ok(t, http.MethodGet, path, nil)
}

// run is a vault command that has to work.
func (c *client) run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := c.cli(args...)
	if code != 0 {
		t.Fatalf("vault %q: exit %d\n%s", args, code, out)
	}
	return out
}

// runJSON is the same, read as JSON into a value.
func (c *client) runJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	out := c.run(t, args...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("vault %q: %v", args, err)
	}
}

// eventually polls for what happens in another process.
func eventually(t *testing.T, within time.Duration, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !met(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(max(20*time.Millisecond, within/1000)) // each look is in the audit log
	}
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeCertificate makes a CA and a server certificate of 127.0.0.1 and gives
// the settings of a client that trusts nothing else.
func writeCertificate(dir string) (*tls.Config, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	caTemplate := certificate("Acceptance CA")
	caTemplate.IsCA, caTemplate.BasicConstraintsValid, caTemplate.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate("vault")
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, caTemplate, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	ca := pemOf("CERTIFICATE", caDER)
	for name, content := range map[string][]byte{"ca.pem": ca, "cert.pem": pemOf("CERTIFICATE", der), "key.pem": pemOf("PRIVATE KEY", keyDER)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

func certificate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func path(parts ...any) string {
	s := fmt.Sprint(parts[0])
	for _, p := range parts[1:] {
		s += "/" + fmt.Sprint(p)
	}
	return s
}
