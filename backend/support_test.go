package backend

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// atOnce does n things side by side.
func atOnce(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

// ticks is Vault's PeriodicFunc for so long.
func ticks(t *testing.T, e *Engine, _ logical.Storage, d time.Duration) {
	t.Helper()
	for range d / time.Minute {
		time.Sleep(time.Minute)
		e.Tick(t.Context())
	}
}

func storedConfig(t *testing.T, storage logical.Storage) Config {
	t.Helper()
	c, err := testEngine(newFake(), storage).ReadConfig(t.Context())
	if err != nil || c == nil {
		t.Fatalf("config: %v", err)
	}
	return *c
}

// settled checks that all is well: reads work, storage has the password that ECGrid
// has, and nothing is under way.
func settled(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
	t.Helper()
	if issued, err := e.IssueKey(t.Context(), 5001, 0); err != nil || issued.APIKey != f.key(5001) {
		t.Errorf("a read: %v", err)
	}
	c := storedConfig(t, storage)
	if c.Password != f.passwordOfNow() && c.APIKey == "" {
		t.Errorf("storage has another password than ECGrid; last error %q", c.Root.LastError)
	}
	if c.unresolved() != nil {
		t.Errorf("a rotate-root is not settled; last error %q", c.Root.LastError)
	}
}

// rolePresent tells whether the role is there.
func rolePresent(t *testing.T, e *Engine, name string) bool {
	t.Helper()
	r, err := e.store.role(t.Context(), name)
	if err != nil {
		t.Error(err)
	}
	return r != nil
}

// testAuthority is the PEM of a CA of its own.
func testAuthority(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
