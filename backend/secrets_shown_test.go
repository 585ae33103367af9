package backend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
)

// logged keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Whatever breaks at whatever step, neither log nor error nor the names of what is
// stored show a secret.
func TestAttackNothingShowsASecret(t *testing.T) {
	t.Parallel()
	for name, broken := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := false
			for nth := 1; !over && nth < 200; nth++ {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					f.password = "Canary-0"
					first, raw := configured(t, f, func(c *Config) { c.Password, c.KeyCacheTTL = "Canary-0", time.Minute })
					writeRole(t, first, raw, "a", RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)})
					var log logged
					b := broken(nth)
					e, _ := start(f, raw, b.at)
					e.Logger = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})
					e.ledger = session.NewLedger(e.store, e.Connect, classify, e.Clock, e.Random, e.Logger)
					note := func(err error) {
						if err != nil {
							_, message, _ := Describe(err)
							fmt.Fprintf(&log, "%v %+v %#v %s\n", err, err, err, message)
						}
					}
					ended := make(chan struct{})
					b.run(func() {
						defer close(ended)
						ctx := context.Background()
						issued, err := e.IssueCreds(ctx, "a", time.Hour)
						note(err)
						_, err = e.RotateRoot(ctx)
						note(err)
						_, err = e.RotateKey(ctx, 5002)
						note(err)
						note(e.WriteConfig(ctx, ConfigPatch{Password: ptr("Canary-1")}, noManager{}))
						note(e.WriteConfig(ctx, ConfigPatch{Password: ptr("Canary-0")}, noManager{}))
						if issued.APIKey != "" {
							_, err = e.RenewLease(ctx, issued.Lease, Renewal{Issued: time.Now()})
							note(err)
							note(e.RevokeLease(ctx, issued.Lease))
						}
						e.Tick(ctx)
					})
					over = b.over()
					if !b.isDead() {
						<-ended
					}
					time.Sleep(10 * time.Minute)
					paths, err := logical.CollectKeys(t.Context(), raw)
					if err != nil {
						t.Fatal(err)
					}
					shown := log.String() + strings.Join(paths, "\n")
					secrets := append([]string{"Canary-", "key-5001", "key-5002", "session-"}, f.changes...)
					for _, secret := range secrets {
						if strings.Contains(shown, secret) {
							t.Errorf("step %d, %+v: shown", nth, b.broken)
						}
					}
					if b.isDead() {
						close(b.buried)
						<-ended
					}
					e.Close()
					time.Sleep(2 * time.Minute)
				})
			}
		})
	}
}
