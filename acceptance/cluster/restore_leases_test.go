// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

const (
	counted   = "creds/counted"
	scheduled = "roles/scheduled"
)

func newRestorableWithRoles(t *testing.T) *restorable {
	t.Helper()
	r := newRestorable(t)
	r.write(t, r.at("roles/counted"), fields{"user_id": countedUser, "rotate_on_revoke": true})
	r.write(t, r.at(scheduled), fields{"user_id": scheduledUser, "rotation_period": "1m"})
	return r
}

func (r *restorable) issue(t *testing.T, path string) (lease string) {
	t.Helper()
	return r.read(t, r.at(path)).LeaseID
}

func (r *restorable) revoke(t *testing.T, lease string) {
	t.Helper()
	r.write(t, "sys/leases/revoke", fields{"lease_id": lease, "sync": true})
}

func (r *restorable) renews(t *testing.T, lease string) bool {
	t.Helper()
	return r.do(t, http.MethodPost, "sys/leases/renew", fields{"lease_id": lease}).OK()
}

// TestRestoreLeases restores a snapshot that has leases which have ended since, and has not
// those that were issued since.
func TestRestoreLeases(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	r := newRestorableWithRoles(t)
	r.table = newTable(t, "Leases after a restore", "What", "Seen", "")
	plain := fmt.Sprint("keys/", firstReadUser)
	kept, revoked, ended := r.issue(t, plain), r.issue(t, plain), r.issue(t, counted)
	replacedSince := r.issue(t, fmt.Sprint("keys/", firstReadUser+1))
	r.save(t)
	r.revoke(t, revoked)
	r.revoke(t, ended) // the last counted one: the key is replaced
	r.ReplaceKey(firstReadUser + 1)
	since := r.issue(t, counted) // of the new key
	if n := r.changed(countedUser); n != 1 {
		t.Fatalf("the key was replaced %d times before the restore", n)
	}
	r.restore(t)

	for _, c := range []struct {
		what        string
		lease       string
		known, good bool
	}{
		{"a lease of the snapshot", kept, true, true},
		{"a lease that was revoked after the snapshot", revoked, true, true},
		{"a lease whose key was replaced after the snapshot", replacedSince, true, false},
		{"a counted lease that was revoked after the snapshot", ended, true, false},
		{"a lease that was issued after the snapshot", since, false, false},
	} {
		known := r.do(t, http.MethodPost, "sys/leases/lookup", fields{"lease_id": c.lease}).OK()
		renewed := r.renews(t, c.lease)
		r.table.row(c.what, fmt.Sprintf("Vault knows it: %v", known), fmt.Sprintf("renewed: %v", renewed))
		if known != c.known || renewed != c.good {
			t.Errorf("%s: known %v and renewed %v, want %v and %v", c.what, known, renewed, c.known, c.good)
		}
	}
	checkChanges := func(what string, want int) {
		t.Helper()
		n := r.changed(countedUser)
		r.table.row(what, fmt.Sprintf("key replaced %d times since the start", n), "")
		if n != want {
			t.Errorf("%s: the key was replaced %d times, want %d", what, n, want)
		}
	}
	r.revoke(t, ended)
	checkChanges("the counted lease of the snapshot is revoked again", 1) // its key is dead
	r.revoke(t, r.issue(t, counted))
	checkChanges("a new counted lease ends, the last one that Vault knows (another application has the key)", 2)
	if n := r.State().RefusedLogins; n != 0 {
		t.Errorf("%d refused logins", n)
	}
	r.end(t)
}

// TestRestoreSchedule restores a snapshot in which a rotation is due that was done since.
func TestRestoreSchedule(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	r := newRestorableWithRoles(t)
	r.table = newTable(t, "Schedules after a restore", "What", "Seen", "")
	r.write(t, r.at("config"), fields{"rotation_period": "1h"})
	r.save(t)
	r.write(t, r.at("rotate-role/scheduled"), nil)
	rotated := r.read(t, r.at(scheduled)).Data
	time.Sleep(time.Minute + 5*time.Second) // the rotation of the snapshot is due by now
	before := r.changed(scheduledUser)
	r.restore(t)
	restored := r.read(t, r.at(scheduled)).Data
	if restored["last_rotation"] == rotated["last_rotation"] {
		t.Errorf("the restored role knows of the rotation at %v", rotated["last_rotation"])
	}
	if left := r.read(t, r.at("creds/scheduled")).LeaseDuration; left > 60 {
		t.Errorf("a lease before the rotation lasts for %d s", left)
	}
	r.reported = restored["last_rotation"]
	at := time.Now()
	if !r.reports(scheduled, "last_rotation", "last_rotation_error") {
		t.Fatal("the rotation is not made up for")
	}
	caughtUp := time.Since(at)
	n := r.changed(scheduledUser) - before
	time.Sleep(20 * time.Second)
	again := r.changed(scheduledUser) - before
	r.table.row("a rotation that is due in the snapshot and was done since", fmt.Sprintf("done again %d times, %v after the restore", n, caughtUp.Round(time.Second)), fmt.Sprintf("%d 20 s later", again))
	if n != 1 || again != 1 {
		t.Errorf("the key was replaced %d times, and %d times 20 s later, want 1", n, again)
	}
	r.end(t)
}

// TestRestoreSuperseded restores a snapshot with a password that rotate-root had replaced
// before. After the runbook that password is no longer refused unseen, since the runbook's
// is the last one that an operator wrote.
func TestRestoreSuperseded(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	r := newRestorable(t)
	r.table = newTable(t, "A superseded password after a restore", "What", "Seen", "")
	first := r.password()
	r.write(t, r.at("rotate-root"), nil)
	r.save(t)
	r.write(t, r.at("rotate-root"), nil)
	r.restore(t)
	writeFirst := func(what string, logins int) {
		t.Helper()
		before := r.Count("Login")
		a := r.do(t, http.MethodPost, r.at("config"), fields{"password": first})
		sent := r.Count("Login") - before
		r.table.row(what, fmt.Sprintf("%d %s", a.Status, oneLine(a.Errors)), fmt.Sprintf("%d Logins", sent))
		if a.Status != http.StatusBadRequest || sent != logins {
			t.Errorf("%s: answered %d with %d Logins, want 400 and %d", what, a.Status, sent, logins)
		}
	}
	writeFirst("a tool writes the first password after the restore", 0)
	r.heal(t)
	r.read(t, r.at("status"))
	writeFirst("a tool writes the first password after the runbook", 1)
	r.read(t, r.at("status"))
	if r.user(simulator.AdminUserID).LockedOut {
		t.Error("the login is locked out")
	}
	r.end(t)
}

func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the short core")
	}
}
