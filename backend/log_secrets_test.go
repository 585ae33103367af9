// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
)

// syncBuilder is a strings.Builder for concurrent use.
type syncBuilder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// The log, the errors and the storage paths contain no secret, whichever step is broken.
func TestNoSecretsInLogAndErrors(t *testing.T) {
	t.Parallel()
	breakEachStep(t, 0, func(t *testing.T, b *breakage) {
		f, e, storage := configured(t, func(c *Config) { c.Password, c.KeyCacheTTL = "Canary-0", time.Minute })
		f.password = "Canary-0"
		writeRole(t, e, "a", RolePatch{RotateOnRevoke: ptr(true)})
		var log syncBuilder
		record := func(err error) {
			if err != nil {
				_, message, _ := Describe(err)
				fmt.Fprintf(&log, "%v %+v %#v %s\n", err, err, err, message)
			}
		}
		e, killed := b.run(t, f, storage, func(e *Engine) {
			e.Logger = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})
			e.ledger = session.NewLedger(e.store, e.Connect, classify, e.Clock, e.Random, e.Logger)
			ctx := context.Background()
			issued, err := e.IssueCreds(ctx, "a", time.Hour)
			record(err)
			record(errOf(e.RotateRoot(ctx)))
			record(errOf(e.RotateKey(ctx, 5002)))
			record(e.WriteConfig(ctx, ConfigPatch{Password: ptr("Canary-1")}, noManager{}))
			record(e.WriteConfig(ctx, ConfigPatch{Password: ptr("Canary-0")}, noManager{}))
			if issued.APIKey != "" {
				record(errOf(e.RenewLease(ctx, issued.Lease, Renewal{Issued: time.Now()})))
				record(e.RevokeLease(ctx, issued.Lease))
			}
			e.Tick(ctx)
		})
		time.Sleep(10 * time.Minute)
		paths, err := logical.CollectKeys(t.Context(), storage)
		check(t, err)
		shown := log.String() + strings.Join(paths, "\n") + fmt.Sprintf("%+v", f.events.all())
		for _, secret := range append(f.now().changes, "Canary-", "key-5001", "key-5002", "session-") {
			if strings.Contains(shown, secret) {
				t.Errorf("%s: the secret %s is shown", b, secret)
			}
		}
		if !killed {
			e.Close()
			time.Sleep(2 * time.Minute)
		}
	})
}
