// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// proxied is an application that reads a path through a Vault Proxy. It keeps its key if a
// read fails.
type proxied struct {
	*program
	url string

	mu   sync.Mutex
	have vaulttest.Response
}

func newProxied(t *testing.T, w *consumertest.World, path string) *proxied {
	t.Helper()
	p := &proxied{program: newProgram(t, w, "agent/proxy.hcl")}
	addr, _, err := vaulttest.FreePorts()
	consumertest.Must(p, err)
	p.replace("127.0.0.1:8100", addr)
	p.url = "http://" + addr + "/v1/" + path
	p.start("proxy")
	return p
}

// read sends a request as Vault's clients do, with a token that Proxy must replace.
func (p *proxied) read(header string) (r vaulttest.Response) {
	req, err := http.NewRequest(http.MethodGet, p.url, nil)
	if err != nil {
		return r
	}
	req.Header.Set(header, "true")
	req.Header.Set("X-Vault-Token", "of-no-use")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return r
	}
	defer answer.Body.Close()
	r.Status = answer.StatusCode
	_ = json.NewDecoder(answer.Body).Decode(&r)
	return r
}

func (p *proxied) key() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.read("X-Vault-Request"); r.OK() {
		p.have = r
	}
	key, _ := p.have.Data["api_key"].(string)
	return key
}

func (p *proxied) leases() int {
	p.Helper()
	r, err := p.w.Do("LIST", "sys/leases/lookup/"+leasedPath, nil)
	consumertest.Must(p, err)
	keys, _ := r.Data["keys"].([]any)
	return len(keys)
}

func TestProxyCreds(t *testing.T) {
	t.Parallel()
	w := consumertest.Start(t, leaseTTL)
	p := newProxied(t, w, leasedPath)
	consumertest.Eventually(t, patience, "Proxy serves the key", func() bool { return p.key() == w.Key() })
	first := p.have.LeaseID
	for range 20 {
		if p.key(); p.have.LeaseID != first {
			t.Fatal("a second read has another lease")
		}
	}
	if n := p.leases(); n != 1 {
		t.Errorf("%d leases for one application after 21 reads", n)
	}
	if r := p.read("X-Other"); r.OK() || r.Status == 0 {
		t.Errorf("a request without X-Vault-Request is answered with %d", r.Status)
	}
	w.Measure(t, consumertest.Consumer{
		Name: "Vault Proxy, `creds`", Version: version(t, w), Arrives: "Vault's API on the same machine",
		Key: p.key, Within: leaseTTL,
		Note: "`ttl` 6 s. All reads share one lease. Proxy serves the old key until it drops that lease",
	})
	w.VaultDown(t)
	if r := p.read("X-Vault-Request"); r.Data["api_key"] != w.Key() {
		t.Errorf("without Vault, Proxy answers with %d instead of the shared lease", r.Status)
	}
}

func TestProxyStaticCreds(t *testing.T) {
	t.Parallel()
	w := consumertest.Start(t, time.Hour)
	p := newProxied(t, w, staticPath)
	w.Measure(t, consumertest.Consumer{
		Name: "Vault Proxy, `static-creds`", Version: version(t, w), Arrives: "Vault's API on the same machine",
		Key:  p.key, // Within is 0: at once
		Note: "Not cached: each read goes to Vault, and has the current key",
	})
	w.VaultDown(t)
	began := time.Now()
	if r := p.read("X-Vault-Request"); r.Status != http.StatusInternalServerError || time.Since(began) > time.Second+consumertest.Slack {
		t.Errorf("without Vault, Proxy answers with %d after %v", r.Status, time.Since(began))
	}
}
