// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
)

// The steps of a life, in their order.

func (l *life) configure() error {
	_, err := l.vaultMust(http.MethodPost, "sys/mounts/"+l.mount, fields{"type": pluginName})
	if err != nil {
		return err
	}
	_, err = l.want(http.StatusNoContent, http.MethodPost, "config", configFor(l.grid, l.transport, l.credential()))
	if n := l.grid.Logins(); err == nil && n != 1 {
		err = fmt.Errorf("%d Logins for one write", n)
	}
	return err
}

func (l *life) credential() fields {
	return fields{"username": login, "password": passwordOf(l.grid, login)}
}

func (l *life) readConfig() error {
	return l.checkData("config", fields{
		"transport": l.transport, "url": urlOf(l.grid, l.transport), "username": login, "auth_method": "password",
		"password": nil, "api_key": nil,
	})
}

func (l *life) status() error {
	level, version := "NetworkAdmin", "4.1.0.472"
	if l.transport == rest {
		version = "2.6"
	}
	if l.reading.NumericEnums {
		level = "4"
	}
	return l.checkData("status", fields{
		"transport": l.transport, "url": urlOf(l.grid, l.transport), "auth_method": "password", "ecgrid_version": version,
		"login_name": login, "user_id": float64(loginID), "auth_level": level, "network_id": 1.0, "mailbox_id": 0.0,
	})
}

// checkData compares some fields of an answer. One that is nil must not be there.
func (l *life) checkData(path string, want fields) error {
	r, err := l.want(http.StatusOK, http.MethodGet, path, nil)
	for name, value := range want {
		if got, there := r.Data[name]; err == nil && (got != value || there && value == nil) {
			err = fmt.Errorf("%s: %s is %v instead of %v", path, name, got, value)
		}
	}
	return err
}

func (l *life) list() error {
	r, err := l.want(http.StatusOK, "LIST", "keys", nil)
	if err != nil {
		return err
	}
	var want, got []string
	slices.SortFunc(l.users, func(a, b fakegrid.User) int { return cmp.Compare(a.ID, b.ID) })
	for _, u := range l.users {
		if u.NetworkID == 1 {
			want = append(want, strconv.Itoa(u.ID))
		}
	}
	ids, _ := r.Data["keys"].([]any)
	for _, id := range ids {
		got = append(got, fmt.Sprint(id))
	}
	info, _ := r.Data["key_info"].(map[string]any)
	if !slices.Equal(got, want) || len(info) != len(want) {
		return fmt.Errorf("%d users, described %d, instead of %d, or not in order", len(got), len(info), len(want))
	}
	return nil
}

func (l *life) readKeys() error {
	return errors.Join(l.read(keysPath(plainID), plainID), l.read(keysPath(elsewhereID), elsewhereID))
}

func (l *life) giveKey() error {
	r, err := l.want(http.StatusNotFound, http.MethodGet, keysPath(keylessID), nil)
	if err != nil {
		return err
	}
	if !strings.Contains(strings.Join(r.Errors, ""), "rotate-key") {
		return errors.New("the answer does not say what to do")
	}
	if err := l.rotate(keylessID); err != nil {
		return err
	}
	return l.read(keysPath(keylessID), keylessID)
}

// rotate checks that the key was replaced once, and that the answer does not have it.
func (l *life) rotate(user int) error {
	changes := len(l.grid.KeyChanges(user))
	r, err := l.want(http.StatusOK, http.MethodPost, fmt.Sprint("rotate-key/", user), nil)
	if err == nil && len(l.grid.KeyChanges(user)) != changes+1 || r.Data["api_key"] != nil {
		err = errors.New("rotate-key replaced no key, more than one, or returned it")
	}
	return err
}

func (l *life) readUnseen() error {
	if _, err := l.want(http.StatusNotFound, http.MethodGet, keysPath(missingID), nil); err != nil {
		return err
	}
	status := http.StatusNotFound
	if l.transport == soap || l.reading.Inaccessible == fakegrid.AccessDenied {
		status = http.StatusForbidden
	}
	_, err := l.want(status, http.MethodGet, keysPath(farID), nil)
	return err
}

func (l *life) useRole() error {
	if _, err := l.want(http.StatusNoContent, http.MethodPost, "roles/plain", fields{"user_id": plainID, "ttl": "10m"}); err != nil {
		return err
	}
	return l.read("creds/plain", plainID)
}

// renew refuses only the lease whose key was replaced by another client.
func (l *life) renew() error {
	if err := errors.Join(l.lease("renew", plainID, 200), l.lease("renew", elsewhereID, 200)); err != nil {
		return err
	}
	l.grid.ReplaceKey(elsewhereID)
	if err := errors.Join(l.lease("renew", plainID, 200), l.lease("renew", elsewhereID, 400)); err != nil {
		return err
	}
	return errors.Join(l.read(keysPath(elsewhereID), elsewhereID), l.lease("renew", elsewhereID, 200))
}

func (l *life) rotateKey() error {
	old := keyOf(l.grid, plainID)
	if err := l.rotate(plainID); err != nil {
		return err
	}
	if keyOf(l.grid, plainID) == old {
		return errors.New("the old key is alive")
	}
	return errors.Join(l.lease("renew", plainID, 400), l.read("creds/plain", plainID))
}

// outlastLimit reads while ECGrid limits the rate of calls.
func (l *life) outlastLimit() error {
	if err := l.read(keysPath(plainID), plainID); err != nil { // the session is open
		return err
	}
	const counted = "rate limited"
	before := l.grid.Counts()[counted]
	l.grid.SetRates(fakegrid.Rates{Limited: 1})
	limited := make(chan error, 1)
	go func() {
		limited <- l.await("a limited call", func() bool { return l.grid.Counts()[counted] > before })
		l.grid.SetRates(fakegrid.Rates{})
	}()
	err := l.read(keysPath(plainID), plainID)
	return errors.Join(<-limited, err)
}

func (l *life) rotateRoot() error {
	if err := l.read(keysPath(plainID), plainID); err != nil { // a session is open
		return err
	}
	began, old := time.Now(), passwordOf(l.grid, login)
	r, err := l.want(http.StatusOK, http.MethodPost, "rotate-root", nil)
	switch {
	case err != nil:
		return err
	case passwordOf(l.grid, login) == old || r.Data["password"] != nil:
		return errors.New("the password is the old one, or was returned")
	}
	return errors.Join(l.awaitClosed(began), l.read(keysPath(plainID), plainID))
}

// awaitClosed waits until the sessions and tokens from before are logged out.
func (l *life) awaitClosed(before time.Time) error {
	return l.await("the old session or token is logged out", func() bool {
		return !slices.ContainsFunc(l.grid.OpenSessions(login), func(s fakegrid.SessionTimes) bool { return s.At.Before(before) })
	})
}

// outliveTokens reads until there were two more Logins. A SOAP session dies unless it is
// used.
func (l *life) outliveTokens() error {
	pause := 50 * time.Millisecond
	if l.transport == soap {
		pause = idleLife + 100*time.Millisecond
	}
	enough := l.grid.Logins() - len(l.grid.Refusals()) + 2
	for deadline := time.Now().Add(3 * max(l.reading.TokenLife, idleLife)); l.grid.Logins()-len(l.grid.Refusals()) < enough; time.Sleep(pause) {
		if err := l.read(keysPath(plainID), plainID); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("the tokens do not end")
		}
	}
	return nil
}

// rotateOnRevoke checks that the key dies with the last of its leases.
func (l *life) rotateOnRevoke() error {
	_, err := l.want(http.StatusNoContent, http.MethodPost, "roles/counted", fields{"user_id": onRevokeID, "rotate_on_revoke": true})
	for _, changes := range []int{0, 1} {
		if err == nil {
			err = errors.Join(l.read("creds/counted", onRevokeID), l.secondLease(changes), l.lease("revoke", onRevokeID, 204))
		}
		if n := len(l.grid.KeyChanges(onRevokeID)); err == nil && n != changes+1 {
			err = fmt.Errorf("%d keys were replaced instead of %d", n, changes+1)
		}
	}
	return err
}

// secondLease takes another lease of the same key and revokes it.
func (l *life) secondLease(changes int) error {
	first := l.leases[onRevokeID]
	err := errors.Join(l.read("creds/counted", onRevokeID), l.lease("revoke", onRevokeID, 204))
	l.leases[onRevokeID] = first
	if n := len(l.grid.KeyChanges(onRevokeID)); err == nil && n != changes {
		return errors.New("the key was replaced while it had a lease")
	}
	return err
}

// useAPIKey has another user's API key in the login's place for a while.
func (l *life) useAPIKey() error {
	if _, err := l.want(http.StatusNoContent, http.MethodPost, "config", fields{"api_key": keyOf(l.grid, keyID)}); err != nil {
		return err
	}
	logins := l.grid.Logins()
	err := errors.Join(
		l.awaitClosed(time.Now()),
		l.checkData("config", fields{"auth_method": "api_key", "username": "", "password": nil, "api_key": nil}),
		l.checkData("status", fields{"auth_method": "api_key", "user_id": float64(keyID)}),
		l.read(keysPath(plainID), plainID), l.lease("renew", plainID, 200), l.rotate(keylessID),
	)
	for _, own := range []string{"rotate-root", fmt.Sprint("rotate-key/", keyID)} {
		_, refused := l.want(http.StatusBadRequest, http.MethodPost, own, nil)
		err = errors.Join(err, refused)
	}
	if n := l.grid.Logins() - logins; err == nil && n > 0 {
		err = fmt.Errorf("%d Logins with an API key", n)
	}
	if err != nil {
		return err
	}
	_, err = l.want(http.StatusNoContent, http.MethodPost, "config", l.credential())
	return errors.Join(err, l.read(keysPath(plainID), plainID))
}

// useWrongPassword writes one, stores it, reads and writes again. A right one works at
// once.
func (l *life) useWrongPassword() error {
	before := l.refused()
	wrong := fields{"username": login, "password": wrongPassword}
	if _, err := l.want(http.StatusBadRequest, http.MethodPost, "config", wrong); err != nil {
		return err
	}
	if err := l.read(keysPath(plainID), plainID); err != nil { // nothing was stored
		return err
	}
	time.Sleep(loginPause)
	stored := fields{"username": login, "password": wrongPassword, "verify_connection": false}
	if _, err := l.want(http.StatusNoContent, http.MethodPost, "config", stored); err != nil {
		return err
	}
	if _, err := l.want(http.StatusBadRequest, http.MethodGet, keysPath(plainID), nil); err != nil {
		return err
	}
	for range 3 {
		for range 4 {
			if err := expect(l.do(http.MethodGet, keysPath(plainID), nil), "a read", 400, 503); err != nil {
				return err
			}
		}
		time.Sleep(loginPause)
		if err := expect(l.do(http.MethodPost, "config", wrong), "a write", 400, 503); err != nil {
			return err
		}
	}
	if n := l.refused() - before; n < 2 || n > maxRefused {
		return fmt.Errorf("%d Logins were refused", n)
	}
	_, err := l.want(http.StatusNoContent, http.MethodPost, "config", l.credential())
	return errors.Join(err, l.read(keysPath(plainID), plainID))
}

func (l *life) refused() int { return l.grid.RefusedSince(login, time.Now().Add(-refusedWindow)) }

// deleteConfig leaves the leases, which can be revoked.
func (l *life) deleteConfig() error {
	if _, err := l.want(http.StatusNoContent, http.MethodDelete, "config", nil); err != nil {
		return err
	}
	err := l.awaitClosed(time.Now())
	for path, status := range map[string]int{"config": http.StatusNotFound, keysPath(plainID): http.StatusBadRequest} {
		_, refused := l.want(status, http.MethodGet, path, nil)
		err = errors.Join(err, refused)
	}
	_, revoked := l.vaultMust(http.MethodPut, "sys/leases/revoke-prefix/"+l.mount, fields{"sync": true})
	return errors.Join(err, revoked)
}

// checkGrid is for what only the grid saw.
func (l *life) checkGrid() error {
	if n := l.grid.MaxOpenSessions(login); n > 2 {
		return fmt.Errorf("%d sessions or tokens were open at once", n)
	}
	if len(l.grid.Violations()) > 0 {
		return errors.New("requests do not conform to the WSDL or the REST documentation")
	}
	return nil
}
