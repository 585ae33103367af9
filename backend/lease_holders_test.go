// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// A counted lease counts until Vault has ended it, and a grace.
func TestHolderUntil(t *testing.T) {
	t.Parallel()
	issued := clock(12, 0, 0)
	now := issued.Add(time.Hour)
	for name, tt := range map[string]struct {
		terms              Terms
		increment          time.Duration
		mountTTL, mountMax time.Duration
		want               time.Duration // from now
	}{
		"the lease's TTL":                    {terms: Terms{TTL: time.Minute}, mountTTL: time.Hour, mountMax: 10 * time.Hour, want: time.Minute},
		"the mount's":                        {mountTTL: time.Hour, mountMax: 10 * time.Hour, want: time.Hour},
		"the increment of a renewal":         {terms: Terms{TTL: time.Minute}, increment: 2 * time.Hour, mountTTL: time.Hour, mountMax: 10 * time.Hour, want: 2 * time.Hour},
		"the lease's maximum":                {terms: Terms{TTL: 5 * time.Hour, MaxTTL: 3 * time.Hour}, mountTTL: time.Hour, mountMax: 10 * time.Hour, want: 2 * time.Hour},
		"the mount's maximum":                {terms: Terms{TTL: 9 * time.Hour}, mountTTL: time.Hour, mountMax: 4 * time.Hour, want: 3 * time.Hour},
		"the mount's maximum unknown":        {terms: Terms{TTL: 9 * time.Hour}, mountTTL: time.Hour, want: 9 * time.Hour},
		"the lease's maximum, mount unknown": {terms: Terms{TTL: 9 * time.Hour, MaxTTL: 3 * time.Hour}, want: 2 * time.Hour},
		"mount unknown":                      {want: unknownTTL},
		"only the mount's maximum known":     {mountMax: 10 * time.Hour, want: 9 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := testEngine(t, newFake(), new(logical.InmemStorage))
			e.DefaultLeaseTTL = func() time.Duration { return tt.mountTTL }
			e.MaxLeaseTTL = func() time.Duration { return tt.mountMax }
			if got := e.leases.holders.until(now, issued, tt.increment, tt.terms); !got.Equal(now.Add(tt.want + holderGrace)) {
				t.Errorf("counts for %s, want %s and the grace of %s", got.Sub(now), tt.want, holderGrace)
			}
		})
	}
}

// A renewal extends the record of a lease and fails if it cannot. It does not record a
// revoked lease again.
func TestRenewalExtendsHolder(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := withCountedRoles(t)
		writeRole(t, e, "a", RolePatch{TTL: ptr(2 * time.Hour)})
		renew := func(l Issued, at time.Time) error {
			return errOf(e.RenewLease(t.Context(), l.Lease, Renewal{Issued: at, Was: l.Terms}))
		}
		at := time.Now()
		l := issueCreds(t, e, "a")
		time.Sleep(time.Hour)
		storage.FailPut(true)
		if renew(l, at) == nil {
			t.Error("the lease was renewed, but its record could not be extended")
		}
		storage.FailPut(false)
		check(t, renew(l, at))
		writeRole(t, e, "a", RolePatch{TTL: ptr(time.Minute)}) // does not shorten the record
		check(t, renew(l, at))
		tickFor(t, e, 2*time.Hour)
		checkHolders(t, e, 1) // its old end has passed
		checkChanges(t, f, 0)
		tickFor(t, e, holderGrace+time.Minute)
		checkHolders(t, e, 0) // its new end has passed
		checkChanges(t, f, 1)

		l = issueCreds(t, e, "a")
		time.Sleep(time.Minute)
		f.on("UserGetAPIKey", func() {
			f.on("UserGetAPIKey", nil)
			check(t, storage.Delete(t.Context(), holderPrefix+holderPath(l.Lease)))
		})
		check(t, renew(l, time.Now()))
		checkHolders(t, e, 0)
	})
}

// The record of a lease ends with the next rotation of its role, as the lease does.
func TestHolderEndsWithRotation(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := withCountedRoles(t)
		writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}})
		time.Sleep(4 * time.Hour)
		l := issueCreds(t, e, "a")
		if !isAbout(l.Terms.MaxTTL, 20*time.Hour) {
			t.Errorf("max TTL is %s, want about 20h", l.Terms.MaxTTL)
		}
		tickFor(t, e, 22*time.Hour) // the rotation, then the end of the record
		// The record may end shortly before the rotation. Then the key is replaced twice.
		if f.now().keys[5001] == l.APIKey || len(f.now().changes) > 2 || countHolders(t, e) != 0 {
			t.Errorf("%d changes, %d leases recorded", len(f.now().changes), countHolders(t, e))
		}
	})
}

// 300 concurrent counted reads of one user take the time of one, at any latency.
func TestConcurrentCountedReads(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{0, 20 * time.Millisecond, 300 * time.Millisecond} {
		runCase(t, latency.String(), func(t *testing.T) {
			f, e, _ := withCountedRoles(t)
			f.latency = latency
			issued := make([]Issued, 300)
			concurrently(300, func(i int) {
				checkWithin(t, 3*latency+time.Second, "a read", func() (err error) {
					issued[i], err = e.IssueCreds(t.Context(), "a", 0)
					return err
				})
			})
			checkHolders(t, e, 300)
			concurrently(300, func(i int) { revokeLeases(t, e, issued[i]) })
			checkChanges(t, f, 1)
			checkHolders(t, e, 0)
		})
	}
}
