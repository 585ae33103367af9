// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"net/http"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

// rotation is in progress on a mount when an event comes.
type rotation struct {
	name string
	user int32 // whose password or key it replaces
	// prepare sets the mount up. Begin returns when ECGrid has received the change and has
	// not answered it.
	prepare, begin func(t *testing.T, s *subject)
	// settle waits until the mount reports the rotation, and reports whether it does.
	settle func(t *testing.T, s *subject) bool
	// refused is how many Logins may be refused: ECGrid is the only one who knows whether
	// it has applied a change that was not confirmed.
	refused int
	long    bool
}

var rotations = []rotation{
	{name: "none"},
	{name: "rotate-root, ECGrid is slow", user: simulator.AdminUserID, refused: 1,
		begin: beginRotateRoot(simulator.Fault{Delay: 3 * time.Second}), settle: settleRotateRoot},
	{name: "rotate-root, applied late", user: simulator.AdminUserID, refused: 1, long: true,
		begin: beginRotateRoot(simulator.Fault{ApplyLate: 4 * time.Second}), settle: settleRotateRoot},
	{name: "revoke of the last counted lease", user: countedUser, long: true,
		prepare: func(t *testing.T, s *subject) {
			s.writeRole(t, fields{"user_id": countedUser, "rotate_on_revoke": true})
		},
		begin: beginRevoke, settle: settleRevoke},
	{name: "scheduled rotation", user: scheduledUser, long: true,
		prepare: func(t *testing.T, s *subject) {
			s.writeRole(t, fields{"user_id": scheduledUser, "rotation_schedule": "* * * * *"})
		},
		begin: beginSchedule, settle: settleSchedule},
}

// subject is a mount with an ECGrid of its own, and its load.
type subject struct {
	*cluster
	*grid
	rotation rotation
	mount    string
	load     *load

	before   int                     // changes of the user before the rotation
	reported any                     // when the mount reported the last rotation before
	answer   chan vaulttest.Response // to the request for the rotation
	lease    string
}

const roleName = "role"

func (s *subject) at(path string) string { return s.mount + "/" + path }

func (s *subject) writeRole(t *testing.T, role fields) {
	t.Helper()
	s.write(t, s.at("roles/"+roleName), role)
}

// request sends a request for a rotation to the active node, and injects a fault into the
// call to ECGrid that it leads to. It returns when ECGrid has received that call.
func (s *subject) request(t *testing.T, op string, f simulator.Fault, path string, body any) {
	t.Helper()
	f.Op, f.Times = op, 1
	s.Inject(f)
	count, active := s.Count(op), s.active(t)
	s.answer = make(chan vaulttest.Response, 1)
	go func() {
		r, err := active.Do(http.MethodPost, path, body)
		if err != nil {
			r.Errors = []string{err.Error()}
		}
		s.answer <- r
	}()
	s.awaitCall(t, op, count+1)
}

func (s *subject) awaitCall(t *testing.T, op string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	defer cancel()
	if err := s.Await(ctx, op, n); err != nil {
		t.Fatalf("no %s: %v", op, err)
	}
}

func beginRotateRoot(f simulator.Fault) func(t *testing.T, s *subject) {
	return func(t *testing.T, s *subject) {
		s.reported = s.read(t, s.at("config")).Data["last_root_rotation"]
		s.request(t, "ChangePassword", f, s.at("rotate-root"), nil)
	}
}

// settleRotateRoot waits for the mount to find out by itself.
func settleRotateRoot(t *testing.T, s *subject) bool {
	r := <-s.answer
	t.Logf("rotate-root answered %d %s", r.Status, r.Errors)
	return s.reports("config", "last_root_rotation", "last_root_rotation_error")
}

// reports waits until a time that the mount reports has changed and no error is there.
func (s *subject) reports(path, timeField, errorField string) bool {
	return within(3*time.Minute, "the mount reports the rotation", func() bool {
		for _, n := range s.nodes {
			r, err := n.Do(http.MethodGet, s.at(path), nil)
			if err == nil && r.OK() {
				return r.Data[timeField] != s.reported && r.Data[errorField] == ""
			}
		}
		return false
	}) == nil
}

func beginRevoke(t *testing.T, s *subject) {
	s.lease = s.read(t, s.at("creds/"+roleName)).LeaseID
	s.request(t, "GenerateAPIKey", simulator.Fault{Delay: 3 * time.Second}, "sys/leases/revoke", fields{"lease_id": s.lease, "sync": true})
}

// settleRevoke repeats the revocation until it succeeds, as a client does. Then another lease
// must be the only counted one.
func settleRevoke(t *testing.T, s *subject) bool {
	r := <-s.answer
	t.Logf("the revocation answered %d %s", r.Status, r.Errors)
	await(t, patience, "the lease is revoked", func() bool {
		return s.do(t, http.MethodPost, "sys/leases/revoke", fields{"lease_id": s.lease, "sync": true}).OK()
	})
	if s.do(t, http.MethodPost, "sys/leases/lookup", fields{"lease_id": s.lease}).OK() {
		return false
	}
	replaced := s.changed(countedUser)
	another := s.read(t, s.at("creds/"+roleName)).LeaseID
	s.write(t, "sys/leases/revoke", fields{"lease_id": another, "sync": true})
	if again := s.changed(countedUser) - replaced; again != 1 {
		t.Errorf("the end of the next lease replaced the key %d times", again)
	}
	s.before += s.changed(countedUser) - replaced
	return true
}

// beginSchedule waits for Vault's next round, in which the role is due.
func beginSchedule(t *testing.T, s *subject) {
	s.reported = s.read(t, s.at("roles/"+roleName)).Data["last_rotation"]
	s.Inject(simulator.Fault{Op: "GenerateAPIKey", Times: 1, Delay: 6 * time.Second})
	s.awaitCall(t, "GenerateAPIKey", s.Count("GenerateAPIKey")+1)
}

func settleSchedule(_ *testing.T, s *subject) bool {
	return s.reports("roles/"+roleName, "last_rotation", "last_rotation_error")
}

// counts returns how often a rotation was done more than once, and whether it was lost.
func (s *subject) counts(t *testing.T, settled bool) (twice, lost int) {
	changes := s.changed(s.rotation.user) - s.before
	if changes == 0 || !settled {
		t.Logf("%s: %d changes at ECGrid, reported: %v", s.rotation.name, changes, settled)
		lost = 1
	}
	return max(0, changes-1), lost
}
