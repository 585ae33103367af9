// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// checkSecrets searches the logs of all nodes for secrets. The nodes must have ended.
func (c *cluster) checkSecrets(t *testing.T, grids ...*grid) {
	t.Helper()
	paths := []string{c.auditPath()}
	for _, n := range c.nodes {
		paths = append(paths, n.Path("vault.log"))
	}
	byPrefix := map[[prefix]byte][]string{}
	for _, g := range grids {
		for _, secret := range g.Secrets() {
			p := [prefix]byte([]byte(secret))
			byPrefix[p] = append(byPrefix[p], secret)
		}
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		must(t, err)
		if found := search(raw, byPrefix); found != "" {
			t.Errorf("%s contains a secret of %d bytes", filepath.Base(path), len(found))
		}
	}
}

// prefix is how many bytes of a secret are looked up. No secret is shorter.
const prefix = 8

// search looks for many secrets in a long text, in one pass.
func search(text []byte, byPrefix map[[prefix]byte][]string) (found string) {
	for len(text) >= prefix {
		for _, secret := range byPrefix[[prefix]byte(text)] {
			if bytes.HasPrefix(text, []byte(secret)) {
				return secret
			}
		}
		text = text[1:]
	}
	return ""
}

func TestSearch(t *testing.T) {
	t.Parallel()
	secrets := map[[prefix]byte][]string{[prefix]byte([]byte("a secret")): {"a secret that is not there", "a secret key"}}
	for text, want := range map[string]string{
		"":                             "",
		"short":                        "",
		"a secret ke":                  "",
		"a secret key":                 "a secret key",
		"begins with it: a secret key": "a secret key",
		"a secret key, and more":       "a secret key",
	} {
		if got := search([]byte(text), secrets); got != want {
			t.Errorf("%q: found %q, want %q", text, got, want)
		}
	}
}
