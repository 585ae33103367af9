// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// nextEvents are what may happen next to a mount with an unresolved rotate-root.
var nextEvents = map[string]func(*Engine){
	"reads":       func(e *Engine) { _, _ = e.IssueKey(context.Background(), 5001, 0) },
	"Start":       func(e *Engine) { e.Start() },
	"rounds":      func(e *Engine) { e.Tick(context.Background()) },
	"rotate-root": func(e *Engine) { _, _ = e.RotateRoot(context.Background()) },
	"a config write": func(e *Engine) {
		_ = e.WriteConfig(context.Background(), ConfigPatch{TTL: ptr(time.Hour)}, noManager{})
	},
}

// Each step of rotate-root is broken. Whatever happens next completes the change.
func TestRotateRootEachStepBroken(t *testing.T) {
	t.Parallel()
	for name, next := range nextEvents {
		t.Run("then "+name, func(t *testing.T) {
			breakEachStep(t, 20, func(t *testing.T, b *breakage) { breakRotateRoot(t, b, next) })
		})
	}
}

func breakRotateRoot(t *testing.T, b *breakage, next func(*Engine)) {
	f, _, storage := configured(t)
	var err error
	e, killed := b.run(t, f, storage, func(e *Engine) { err = errOf(e.RotateRoot(context.Background())) })
	if b.broken == nil {
		check(t, err)
		checkHealthy(t, f, e)
		return
	}
	changes := len(f.now().changes)
	if killed {
		e = testEngine(t, f, storage)
	} else {
		sent := f.now().calls["ChangePassword"] > 0 || b.broken.op == "ChangePassword"
		if status, _, ok := Describe(err); changes > 1 || err != nil && sent && (!ok || status >= http.StatusInternalServerError) {
			t.Errorf("%d changes, sent: %t, status %d", changes, sent, status)
		}
	}
	for range 3 {
		next(e)
		time.Sleep(10 * time.Second)
	}
	time.Sleep(30 * time.Minute)
	checkHealthy(t, f, e)
	checkRefused(t, f, 3)
	changes = len(f.now().changes)
	check(t, errOf(e.RotateRoot(t.Context())))
	checkChanges(t, f, changes+1)
	checkHealthy(t, f, e)
	if t.Failed() {
		t.Logf("%s", b)
		if !killed {
			t.Logf("rotate-root returned %v", err)
		}
	}
}
