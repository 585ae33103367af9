// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// hangingECGrid lets one operation on one user hang until its context ends.
type hangingECGrid struct {
	*fakeECGrid
	op     string
	userID int32
}

func (h hangingECGrid) hang(ctx context.Context, op string, userID int32) error {
	if op != h.op || userID != h.userID {
		return nil
	}
	<-ctx.Done()
	return opError(op, ecgrid.ErrTimeout)
}

func (h hangingECGrid) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	if err := h.hang(ctx, "UserGetAPIKey", userID); err != nil {
		return "", err
	}
	return h.fakeECGrid.UserGetAPIKey(ctx, by, userID)
}

func (h hangingECGrid) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	if err := h.hang(ctx, "GenerateAPIKey", userID); err != nil {
		return "", err
	}
	return h.fakeECGrid.GenerateAPIKey(ctx, by, userID)
}

// While a call on one user hangs, requests on other users do not wait.
func TestUsersDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		op string
		do func(e *Engine, l Issued) error
	}{
		"read": {"UserGetAPIKey", func(e *Engine, _ Issued) error { return errOf(e.IssueCreds(context.Background(), "a", 0)) }},
		"renewal": {"UserGetAPIKey", func(e *Engine, l Issued) error {
			return errOf(e.RenewLease(context.Background(), l.Lease, Renewal{Issued: time.Now(), Was: l.Terms}))
		}},
		"rotation":   {"GenerateAPIKey", func(e *Engine, _ Issued) error { return errOf(e.RotateKey(context.Background(), 5001)) }},
		"last lease": {"GenerateAPIKey", func(e *Engine, l Issued) error { return e.RevokeLease(context.Background(), l.Lease) }},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := withCountedRoles(t)
			f.keys[5065] = "key-5065" // 64 away from 5001
			writeRole(t, e, "sixtyfour", RolePatch{UserID: ptr(int32(5065)), RotateOnRevoke: ptr(true)})
			l1, l2, l3 := issueCreds(t, e, "a"), issueCreds(t, e, "other"), issueCreds(t, e, "sixtyfour")
			e.Close()
			e = testEngineAt(t, f, storage, connectTo(hangingECGrid{f, tt.op, 5001}))
			readKey(t, e, 5002)
			hung := make(chan struct{})
			go func() {
				defer close(hung)
				_ = tt.do(e, l1)
			}()
			time.Sleep(100 * time.Millisecond)
			for _, other := range []struct {
				what string
				do   func() error
			}{
				{"a counted read", func() error { return errOf(e.IssueCreds(t.Context(), "other", 0)) }},
				{"a counted read of user 5065", func() error { return errOf(e.IssueCreds(t.Context(), "sixtyfour", 0)) }},
				{"a renewal", func() error {
					return errOf(e.RenewLease(t.Context(), l3.Lease, Renewal{Issued: time.Now(), Was: l3.Terms}))
				}},
				{"a revoke of the last lease", func() error { return e.RevokeLease(t.Context(), l2.Lease) }},
				{"a rotation", func() error { return errOf(e.RotateKey(t.Context(), 5065)) }},
				{"a role write", func() error { return e.WriteRole(t.Context(), "a", RolePatch{TTL: ptr(time.Hour)}) }},
				{"a role read", func() error { return errOf(e.ReadRole(t.Context(), "a")) }},
				{"a list of users", func() error { return errOf(e.ListUsers(t.Context())) }},
				{"a config read", func() error { return errOf(e.ReadConfig(t.Context())) }},
				{"a config write", func() error { return e.WriteConfig(t.Context(), ConfigPatch{TTL: ptr(time.Hour)}, noManager{}) }},
			} {
				checkWithin(t, time.Second, other.what, other.do)
			}
			<-hung
		})
	}
}
