// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
)

const scheduledID = 7005 // its role has a rotation schedule

// TestMove moves a mount with leases from SOAP to REST and back. It is not parallel, like
// TestEveryReading.
func TestMove(t *testing.T) {
	programs.Need(t)
	users := append(usersFor(fakegrid.RESTReading{MaxPage: 1}), fakegrid.User{
		ID: scheduledID, Login: "scheduled", Password: "Other-Passw0rd", AuthLevel: "General", NetworkID: 1,
	})
	l := &life{name: "move", transport: soap, v: startVault(t), mount: "moving", users: users, leases: map[int]string{}}
	l.grid = startGrid(t, fakegrid.Options{Limits: fakegrid.Limits{Sessions: 2, LockAfter: 4}, Users: l.users, Seed: 1, REST: fakegrid.RESTReading{OpenTokens: 2}})
	for _, s := range []step{
		{name: "config over SOAP", do: (*life).configure},
		{name: "leases", do: (*life).takeLeases},
		{name: "rotate-root over SOAP", do: (*life).rotateRoot},
		{name: "a move without the password", do: (*life).moveWithout},
		{name: "the move to REST", do: (*life).move},
		{name: "leases over REST", do: (*life).renewAll},
		{name: "a lease whose key was replaced, over REST", do: (*life).renew},
		{name: "rotate-root over REST", do: (*life).rotateRoot},
		{name: "a killed process leaves a token open", do: (*life).killWithSession},
		{name: "a move back without the password", do: (*life).moveWithout},
		{name: "the move to SOAP", do: (*life).move},
		{name: "leases over SOAP", do: (*life).renewAll},
		{name: "a lease whose key was replaced, over SOAP", do: (*life).renew},
		{name: "rotate-root over SOAP again", do: (*life).rotateRoot},
		{name: "a killed process leaves a session open", do: (*life).killWithSession},
		{name: "a move after a kill", do: (*life).moveAfterKill},
		{name: "a new process uses the stored password", do: (*life).killWithSession},
		{name: "the keys that died", do: (*life).endLeases},
		{name: "config is deleted", do: (*life).deleteConfig},
		{name: "the grid's own view", do: (*life).checkGrid},
	} {
		if err := s.do(l); err != nil {
			t.Fatalf("%s: %v; the grid complains of %v", s.name, err, l.grid.Violations())
		}
	}
	if n := len(l.grid.Refusals()); n > 0 {
		t.Errorf("%d Logins were refused", n)
	}
	checkWritten(t, l.v, l.grid.Secrets())
}

// leasesOf are the paths of the outstanding leases, by user.
var leasesOf = map[int]string{
	plainID: keysPath(plainID), elsewhereID: keysPath(elsewhereID), onRevokeID: "creds/counted", scheduledID: "creds/scheduled",
}

func (l *life) takeLeases() error {
	roles := map[string]fields{
		"counted":   {"user_id": onRevokeID, "rotate_on_revoke": true},
		"scheduled": {"user_id": scheduledID, "rotation_period": "24h"},
	}
	var err error
	for name, role := range roles {
		_, failed := l.want(http.StatusNoContent, http.MethodPost, "roles/"+name, role)
		err = errors.Join(err, failed)
	}
	for user, path := range leasesOf {
		err = errors.Join(err, l.read(path, user))
	}
	return err
}

func (l *life) other() string { return map[string]string{soap: rest, rest: soap}[l.transport] }

// moveWithout is refused, since the grid is not one of the vendor's servers, and changes
// nothing.
func (l *life) moveWithout() error {
	if err := l.read(keysPath(plainID), plainID); err != nil { // a session is open
		return err
	}
	logins := l.grid.Logins()
	moves := []fields{
		{"transport": l.other(), "url": urlOf(l.grid, l.other())}, {"transport": l.other()}, {"transport": l.other(), "url": ""},
		{"transport": l.other(), "url": urlOf(l.grid, l.other()), "verify_connection": false},
	}
	for _, move := range moves {
		for _, method := range []string{http.MethodPost, http.MethodPatch} {
			if _, err := l.want(http.StatusBadRequest, method, "config", move); err != nil {
				return err
			}
		}
	}
	err := errors.Join(l.readConfig(), l.status(), l.renewAll())
	if n := l.grid.Logins() - logins; err == nil && n > 0 {
		err = fmt.Errorf("%d Logins", n)
	}
	return err
}

// move brings the password, and logs out what the other transport opened.
func (l *life) move() error {
	began, to := time.Now(), l.other()
	if _, err := l.want(http.StatusNoContent, http.MethodPost, "config", configFor(l.grid, to, l.credential())); err != nil {
		return err
	}
	l.transport = to
	return errors.Join(l.awaitClosed(began), l.readConfig(), l.status())
}

// moveAfterKill moves with the first request of a new process, which has to log out what the
// killed one left open over the other transport.
func (l *life) moveAfterKill() error {
	if err := l.read(keysPath(plainID), plainID); err != nil {
		return err
	}
	l.v.KillPlugins()
	return l.await("the move after the kill", func() bool { return l.move() == nil })
}

// renewAll renews every lease. No key was replaced.
func (l *life) renewAll() (err error) {
	for user := range leasesOf {
		err = errors.Join(err, l.lease("renew", user, http.StatusOK))
	}
	return err
}

// killWithSession kills the plugin while a session is open. The next process logs it out.
func (l *life) killWithSession() error {
	if err := l.read(keysPath(plainID), plainID); err != nil {
		return err
	}
	left := l.grid.OpenSessions(login)
	if len(left) != 1 {
		return fmt.Errorf("%d sessions are open", len(left))
	}
	l.v.KillPlugins()
	err := l.await("a read after the kill", func() bool { return l.do(http.MethodGet, keysPath(plainID), nil).OK() })
	return errors.Join(err, l.awaitClosed(left[0].At.Add(time.Nanosecond)))
}

// endLeases revokes the counted lease. No other key died, except those that another client
// replaced.
func (l *life) endLeases() error {
	if n := len(l.grid.KeyChanges(onRevokeID)); n > 0 {
		return errors.New("the key was replaced before its last lease ended")
	}
	err := errors.Join(l.renewAll(), l.lease("revoke", onRevokeID, http.StatusNoContent))
	var changes []int
	for _, user := range []int{plainID, elsewhereID, onRevokeID, scheduledID} {
		changes = append(changes, len(l.grid.KeyChanges(user)))
	}
	if want := []int{0, 2, 1, 0}; err == nil && !slices.Equal(changes, want) {
		err = fmt.Errorf("%d keys were replaced instead of %d", changes, want)
	}
	return err
}
