// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"errors"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Only a definite answer of ECGrid refuses a renewal. Without one there is a warning.
func TestRenewLease(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(f *fakeECGrid)
		want   error // nil: renewed
		warned bool
	}{
		"same key":      {func(*fakeECGrid) {}, nil, false},
		"key replaced":  {func(f *fakeECGrid) { f.set(func() { f.keys[5001] = "new" }) }, ErrKeyReplaced, false},
		"key gone":      {func(f *fakeECGrid) { f.set(func() { f.keys[5001] = "" }) }, ErrNoKey, false},
		"user gone":     {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrNotFound) }, ecgrid.ErrNotFound, false},
		"denied":        {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrAccessDenied) }, ecgrid.ErrAccessDenied, false},
		"unreachable":   {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable) }, nil, true},
		"too slow":      {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrTimeout) }, nil, true},
		"bad answer":    {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrBadAnswer) }, nil, true},
		"server fault":  {func(f *fakeECGrid) { f.failWith("UserGetAPIKey", ecgrid.ErrServerFault) }, nil, true},
		"login refused": {func(f *fakeECGrid) { f.set(func() { clear(f.sessions); f.password = "x" }) }, nil, true},
		"denied, session may be dead": {func(f *fakeECGrid) {
			f.failWith("UserGetAPIKey", ecgrid.ErrAccessDenied)
			f.failWith("WhoAmI", ecgrid.ErrTimeout)
		}, nil, true},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t, func(c *Config) { c.TTL, c.MaxTTL = time.Hour, 2*time.Hour })
			issued, err := e.IssueKey(t.Context(), 5001, 30*time.Minute)
			check(t, err)
			tt.change(f)
			terms, err := e.RenewLease(t.Context(), issued.Lease, Renewal{Issued: time.Now(), Was: issued.Terms})
			wantErr(t, err, tt.want)
			if (len(terms.Warnings) > 0) != tt.warned {
				t.Errorf("got warnings %v, want any: %t", terms.Warnings, tt.warned)
			}
			if tt.want == nil && (terms.TTL != 30*time.Minute || terms.MaxTTL != 2*time.Hour) {
				t.Errorf("renewed for %s of %s, want 30m of 2h", terms.TTL, terms.MaxTTL)
			}
			revokeLeases(t, e, issued)
		})
	}
}

// Without a config a lease keeps its terms.
func TestRenewWithoutConfig(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		_, e, _ := configured(t)
		issued, err := e.IssueKey(t.Context(), 5001, 0)
		check(t, err)
		check(t, e.DeleteConfig(t.Context(), noManager{}))
		was := Terms{TTL: 30 * time.Second, MaxTTL: 5 * time.Minute}
		terms, err := e.RenewLease(t.Context(), issued.Lease, Renewal{Issued: time.Now(), Was: was})
		if err != nil || len(terms.Warnings) == 0 || terms.TTL != was.TTL || terms.MaxTTL != was.MaxTTL {
			t.Errorf("got %+v and error %v, want the terms %+v and a warning", terms, err, was)
		}
		revokeLeases(t, e, issued)
	})
}

// A lease of a role is renewed if the role still has its user and the user its key. It can
// always be revoked.
func TestRenewLeaseOfRole(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(t *testing.T, e *Engine)
		want   error
		ttl    time.Duration
	}{
		"unchanged": {func(*testing.T, *Engine) {}, nil, time.Hour},
		"deleted":   {func(t *testing.T, e *Engine) { _ = e.DeleteRole(t.Context(), "a") }, ErrRoleNotFound, 0},
		"another user": {func(t *testing.T, e *Engine) {
			writeRole(t, e, "a", RolePatch{UserID: ptr(int32(5002))})
		}, ErrKeyReplaced, 0},
		"another ttl": {func(t *testing.T, e *Engine) {
			writeRole(t, e, "a", RolePatch{TTL: ptr(time.Minute)})
		}, nil, time.Minute},
		"a schedule": {func(t *testing.T, e *Engine) {
			writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(10 * time.Minute)}})
		}, nil, 10 * time.Minute},
		"rotate-role": {func(t *testing.T, e *Engine) { _, _ = e.RotateRole(t.Context(), "a") }, ErrKeyReplaced, 0},
		"rotate-key":  {func(t *testing.T, e *Engine) { _, _ = e.RotateKey(t.Context(), 5001) }, ErrKeyReplaced, 0},
	} {
		for _, counted := range []bool{false, true} {
			runCase(t, name, func(t *testing.T) {
				f, e, _ := configured(t)
				writeRole(t, e, "a", RolePatch{TTL: ptr(time.Hour), RotateOnRevoke: &counted})
				issued := issueCreds(t, e, "a")
				if issued.Lease.Role != "a" || issued.Lease.Counted != counted {
					t.Errorf("got lease %+v, want one of role a, counted: %t", issued.Lease, counted)
				}
				at := time.Now()
				tt.change(t, e)
				terms, err := e.RenewLease(t.Context(), issued.Lease, Renewal{Issued: at, Was: issued.Terms})
				if !errors.Is(err, tt.want) || terms.TTL != tt.ttl {
					t.Errorf("got error %v and TTL %s, want %v and %s", err, terms.TTL, tt.want, tt.ttl)
				}
				revokeLeases(t, e, issued)
				if counted && f.now().keys[5001] == issued.APIKey {
					t.Error("the key is valid after its last lease")
				}
			})
		}
	}
}
