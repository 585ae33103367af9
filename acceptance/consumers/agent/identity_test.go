// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

type claims = map[string]any

// issuer signs tokens as Kubernetes, Nomad and GitHub do.
type issuer struct{ key *ecdsa.PrivateKey }

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	consumertest.Must(t, err)
	return issuer{key}
}

func (i issuer) publicKey(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	consumertest.Must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// token returns a JWT (RFC 7519) that is valid for an hour.
func (i issuer) token(t *testing.T, c claims) string {
	t.Helper()
	all := claims{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range c {
		all[name] = value
	}
	signed := segment(t, claims{"alg": "ES256", "typ": "JWT"}) + "." + segment(t, all)
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, hash[:])
	consumertest.Must(t, err)
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func segment(t *testing.T, c claims) string {
	t.Helper()
	raw, err := json.Marshal(c)
	consumertest.Must(t, err)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// runREADME runs the shell commands in a README of examples/ in a directory.
func runREADME(t *testing.T, w *consumertest.World, file, dir string, replace ...string) {
	t.Helper()
	var commands string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(example(t, file), -1) {
		commands += block[1]
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(commands, replace[i]) {
			t.Fatalf("the commands of %s have no %q", file, replace[i])
		}
	}
	cmd := exec.Command("sh", "-euc", strings.NewReplacer(replace...).Replace(commands))
	cmd.Dir = dir
	cmd.Env = append(vaulttest.Environment(dir), "VAULT_ADDR="+w.Addr, "VAULT_TOKEN="+w.Token, "VAULT_CACERT="+w.CAFile(),
		"PATH="+vaultOnPath(t, w, dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the commands of %s: %v\n%s", file, err, out)
	}
}

// oneMatch returns the group of a pattern that matches exactly once.
func oneMatch(t *testing.T, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("%q is in the example %d times", pattern, len(found))
	}
	return found[0][1]
}

// login logs in with a JWT. It returns a client, or false if Vault refuses.
func login(t *testing.T, w *consumertest.World, mount, jwt string) (vaulttest.Client, bool) {
	t.Helper()
	client := vaulttest.Client{HTTP: w.HTTP, Addr: w.Addr}
	r, err := client.Do("POST", "auth/"+mount+"/login", claims{"role": "edi-gateway", "jwt": jwt})
	consumertest.Must(t, err)
	client.Token = r.Auth.ClientToken
	return client, r.OK()
}

// checkLogins checks that the right claims log in, and no others. The client may read the
// key and nothing else.
func checkLogins(t *testing.T, w *consumertest.World, i issuer, mount string, right claims, wrong map[string]any) {
	t.Helper()
	client, ok := login(t, w, mount, i.token(t, right))
	if !ok {
		t.Fatal("the right token is refused")
	}
	if r, err := client.Do("GET", staticPath, nil); err != nil || r.Data["api_key"] != w.Key() {
		t.Errorf("%s answered %d: %v", staticPath, r.Status, err)
	}
	for _, path := range []string{leasedPath, "ecgrid/keys/5001", "ecgrid/config"} {
		if r, err := client.Do("GET", path, nil); err != nil || r.Status != 403 {
			t.Errorf("%s answered %d: %v", path, r.Status, err)
		}
	}
	for name, value := range wrong {
		other := claims{}
		for k, v := range right {
			other[k] = v
		}
		other[name] = value
		if _, ok := login(t, w, mount, i.token(t, other)); ok {
			t.Errorf("a token with %s %q logs in", name, value)
		}
	}
}

// vaultOnPath returns a PATH on which vault is the one under test.
func vaultOnPath(t *testing.T, w *consumertest.World, dir string) string {
	t.Helper()
	if err := os.Symlink(w.VaultBin, filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	return dir + string(os.PathListSeparator) + os.Getenv("PATH")
}
