// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The end of the last counted lease replaces the key, once. No other revoke does.
func TestRevokeReplacesTheKey(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		changes int
		do      func(t *testing.T, f *fakeECGrid, e *Engine)
	}{
		"one lease": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			revokeLeases(t, e, issueCreds(t, e, "a"))
		}},
		"revoked again": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			revokeLeases(t, e, l, l, l)
		}},
		"leases of two roles": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l1, l2, l3 := issueCreds(t, e, "a"), issueCreds(t, e, "b"), issueCreds(t, e, "a")
			revokeLeases(t, e, l2, l1)
			checkChanges(t, f, 0)
			revokeLeases(t, e, l3)
		}},
		"leases of two users": {2, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l1, l2 := issueCreds(t, e, "a"), issueCreds(t, e, "other")
			revokeLeases(t, e, l1)
			if f.now().keys[5002] != "key-5002" {
				t.Error("the other user's key was replaced")
			}
			revokeLeases(t, e, l2)
		}},
		"leases that are not counted": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			writeRole(t, e, "plain", RolePatch{})
			l1, l2 := issueCreds(t, e, "a"), issueCreds(t, e, "plain")
			l3, err := e.IssueKey(t.Context(), 5001, 0)
			check(t, err)
			revokeLeases(t, e, l2, l3)
			checkHolders(t, e, 1)
			revokeLeases(t, e, l1)
		}},
		"replaced by rotate-key": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l1, l2 := issueCreds(t, e, "a"), issueCreds(t, e, "a")
			check(t, errOf(e.RotateKey(t.Context(), 5001)))
			revokeLeases(t, e, l1, l2)
		}},
		"leases of an old and a new key": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l1 := issueCreds(t, e, "a")
			f.set(func() { f.keys[5001] = "from outside" })
			l2 := issueCreds(t, e, "a")
			revokeLeases(t, e, l1)
			if f.now().keys[5001] != "from outside" {
				t.Error("the new key was replaced, but it still has a lease")
			}
			revokeLeases(t, e, l2)
		}},
		"role deleted": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			check(t, e.DeleteRole(t.Context(), "a"))
			revokeLeases(t, e, l)
		}},
		"role without rotate_on_revoke now": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			writeRole(t, e, "a", RolePatch{RotateOnRevoke: ptr(false)})
			revokeLeases(t, e, l, issueCreds(t, e, "a"))
		}},
		"role of another user now": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			writeRole(t, e, "a", RolePatch{UserID: ptr(int32(5002))})
			revokeLeases(t, e, l)
			if f.now().keys[5002] != "key-5002" {
				t.Error("the wrong key was replaced")
			}
		}},
		"rotate_on_revoke set after the issue": {0, func(t *testing.T, f *fakeECGrid, e *Engine) {
			writeRole(t, e, "plain", RolePatch{})
			l := issueCreds(t, e, "plain")
			writeRole(t, e, "plain", RolePatch{RotateOnRevoke: ptr(true)})
			revokeLeases(t, e, l)
		}},
		"user gone": {0, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			f.set(func() { delete(f.keys, 5001) })
			revokeLeases(t, e, l)
		}},
		"user has no key any more": {0, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			f.set(func() { f.keys[5001] = "" })
			revokeLeases(t, e, l)
		}},
		"config deleted": {0, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			check(t, e.DeleteConfig(t.Context(), noManager{}))
			revokeLeases(t, e, l)
		}},
		"the config's own api_key by now": {0, func(t *testing.T, f *fakeECGrid, e *Engine) {
			writeRole(t, e, "a", RolePatch{UserID: ptr(int32(100))})
			f.set(func() { f.keys[100] = "api-key" })
			l := issueCreds(t, e, "a")
			writeConfig(t, e, ConfigPatch{APIKey: ptr("api-key")})
			wantErr(t, errOf(e.IssueCreds(t.Context(), "a", 0)), ErrOwnKey)
			revokeLeases(t, e, l)
		}},
		"answer lost": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.set(func() { f.lost["GenerateAPIKey"] = ecgrid.ErrTimeout })
			revokeLeases(t, e, issueCreds(t, e, "a"))
		}},
		"answer lost, then ECGrid down": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			f.set(func() { f.lost["GenerateAPIKey"] = ecgrid.ErrTimeout })
			f.on("GenerateAPIKey", func() { f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable) })
			for range 3 {
				if err := e.RevokeLease(t.Context(), l.Lease); err == nil {
					t.Error("revoked, but it is unknown whether the key was replaced")
				}
			}
			f.failWith("UserGetAPIKey", nil)
			revokeLeases(t, e, l)
		}},
		"ECGrid down": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l1, l2 := issueCreds(t, e, "a"), issueCreds(t, e, "b")
			f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable)
			revokeLeases(t, e, l1) // not the last one
			for range 3 {
				wantErr(t, e.RevokeLease(t.Context(), l2.Lease), ecgrid.ErrUnreachable)
			}
			f.failWith("UserGetAPIKey", nil)
			revokeLeases(t, e, l2)
		}},
		"denied": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			wantErr(t, e.RevokeLease(t.Context(), l.Lease), ecgrid.ErrAccessDenied)
			f.failWith("GenerateAPIKey", nil)
			revokeLeases(t, e, l)
		}},
		"concurrent": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			leases := make([]Issued, 100)
			concurrently(len(leases), func(i int) { leases[i] = issueCreds(t, e, []string{"a", "b"}[i%2]) })
			concurrently(len(leases), func(i int) { revokeLeases(t, e, leases[i]) })
		}},
		"canceled": {1, func(t *testing.T, f *fakeECGrid, e *Engine) {
			l := issueCreds(t, e, "a")
			ctx, hangUp := context.WithCancel(t.Context())
			f.set(func() { f.onAny = func(string) { hangUp() } })
			check(t, e.RevokeLease(ctx, l.Lease))
		}},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := withCountedRoles(t, func(c *Config) { c.KeyCacheTTL = time.Hour })
			tt.do(t, f, e)
			checkChanges(t, f, tt.changes)
			checkHolders(t, e, 0)
		})
	}
}
