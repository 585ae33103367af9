// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const (
	livesAtOnce = 16 // most of the time they wait

	// maxTokenLife is the longest life of a token that the test sees the end of.
	maxTokenLife = 20 * time.Second
	// idleLife is how long a SOAP session lives without use.
	idleLife = 2 * time.Second
	// lockAfter leaves room for one Login that is refused for a full table. The rule of three
	// is for the wrong password.
	lockAfter = maxRefused + 2
	// patience is for what the plugin does in the background.
	patience = 5 * time.Second
	// loginPause keeps two refused Logins apart. The grid takes an earlier one for a
	// repetition.
	loginPause = time.Second

	plainID     = 7001
	elsewhereID = 7002 // another client replaces the key
	onRevokeID  = 7003 // its role has rotate_on_revoke
	keylessID   = 7004
	farID       = 6001 // in another network
	missingID   = 404404
	firstBulkID = 10001

	wrongPassword = "Wrong-Passw0rd-of-the-login"
)

// life is a mount of its own with a grid of its own, in one reading.
type life struct {
	name      string
	transport string
	reading   fakegrid.RESTReading
	v         *vault
	mount     string
	grid      *fakegrid.Server
	users     []fakegrid.User
	leases    map[int]string // by user
}

// step is a part of a life.
type step struct {
	name string
	do   func(*life) error
	// impossible says why a life cannot have this step, or "". Nil: each has it.
	impossible func(*life) string
}

var steps = []step{
	{name: "config is written", do: (*life).configure},
	{name: "config is read", do: (*life).readConfig},
	{name: "status", do: (*life).status},
	{name: "keys are listed", do: (*life).list},
	{name: "a key is read", do: (*life).readKeys},
	{name: "a user without a key", do: (*life).giveKey},
	{name: "users who cannot be seen", do: (*life).readUnseen},
	{name: "a role", do: (*life).useRole},
	{name: "a lease is renewed", do: (*life).renew},
	{name: "rotate-key", do: (*life).rotateKey},
	{name: "a rate limit", do: (*life).outlastLimit, impossible: func(l *life) string {
		return map[string]string{soap: "SOAP has none"}[l.transport]
	}},
	{name: "rotate-root", do: (*life).rotateRoot},
	{name: "rotate-root again", do: (*life).rotateRoot},
	{name: "tokens end", do: (*life).outliveTokens, impossible: func(l *life) string {
		if life := l.reading.TokenLife; l.transport == rest && (life == 0 || life > maxTokenLife) {
			return "its tokens outlive the test"
		}
		return ""
	}},
	{name: "rotate on revoke", do: (*life).rotateOnRevoke},
	{name: "an API key as the login", do: (*life).useAPIKey},
	{name: "a wrong password", do: (*life).useWrongPassword},
	{name: "config is deleted", do: (*life).deleteConfig},
	{name: "the grid's own view", do: (*life).checkGrid},
}

// TestEveryReading runs the whole life of a mount in every reading of the REST
// documentation, and over SOAP. It is not parallel: the chaos test measures times.
func TestEveryReading(t *testing.T) {
	programs.Need(t)
	v := startVault(t)
	all := allLives(v)
	var mu sync.Mutex
	skipped, secrets := map[string]int{}, map[string]struct{}{}
	slots := make(chan struct{}, livesAtOnce)
	var running sync.WaitGroup
	for _, l := range all {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			left, grid := l.run(t)
			mu.Lock()
			defer mu.Unlock()
			for _, why := range left {
				skipped[why]++
			}
			for _, s := range grid {
				secrets[s] = struct{}{}
			}
		})
	}
	running.Wait()
	for why, n := range skipped {
		t.Logf("impossible in %d of %d readings: %s", n, len(all), why)
	}
	checkWritten(t, v, slices.Collect(maps.Keys(secrets)))
}

// allLives begins with those that take the longest.
func allLives(v *vault) []*life {
	all := []*life{{name: "SOAP", transport: soap}}
	for name, reading := range fakegrid.RESTReadings {
		all = append(all, &life{name: name, transport: rest, reading: reading})
	}
	waits := func(l *life) time.Duration {
		if l.reading.TokenLife > maxTokenLife {
			return 0
		}
		return l.reading.TokenLife
	}
	slices.SortFunc(all, func(a, b *life) int { return int(waits(b) - waits(a)) })
	for i, l := range all {
		l.v, l.mount, l.users, l.leases = v, fmt.Sprintf("reading-%02d", i), usersFor(l.reading), map[int]string{}
	}
	return all
}

// usersFor has more users in the network of the login than the largest page. The last page
// is full if the answer to the page after it matters.
func usersFor(r fakegrid.RESTReading) []fakegrid.User {
	all := []fakegrid.User{
		{ID: loginID, Login: login, Password: firstPassword, AuthLevel: "NetworkAdmin", NetworkID: 1},
		{ID: keyID, Login: "by key", Password: "Another-Passw0rd", AuthLevel: "NetworkAdmin", NetworkID: 1},
		{ID: farID, Login: "far", Password: "Far-Passw0rd", AuthLevel: "General", NetworkID: 2},
		{ID: keylessID, Login: "keyless", Password: "Keyless-Passw0rd", AuthLevel: "General", NetworkID: 1, NoKey: true},
	}
	for _, id := range []int{plainID, elsewhereID, onRevokeID} {
		all = append(all, fakegrid.User{ID: id, Login: fmt.Sprint("user", id), Password: "Other-Passw0rd", AuthLevel: "General", NetworkID: 1})
	}
	page, pages := 1000, 1
	if r.MaxPage > 0 {
		page, pages = r.MaxPage, 8
	}
	visible := pages*page + 1
	if r.PastEnd != fakegrid.EmptyPage || r.NullLists {
		visible = (pages + 1) * page
	}
	for id := firstBulkID + visible - len(all); id >= firstBulkID; id-- { // unsorted
		all = append(all, fakegrid.User{ID: id, Login: fmt.Sprint("user", id), Password: "Bulk-Passw0rd", AuthLevel: "General", NetworkID: 1, NoKey: true})
	}
	return all
}

// run ends at the first step that fails.
func (l *life) run(t *testing.T) (impossible, secrets []string) {
	grid, err := fakegrid.Start(fakegrid.Options{
		Limits: fakegrid.Limits{Sessions: 5, SessionIdle: idleLife, LockAfter: lockAfter},
		Users:  l.users, Seed: uint64(len(l.name)), REST: l.reading,
	})
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	defer grid.Close()
	l.grid = grid
	for _, s := range steps {
		if s.impossible != nil {
			if why := s.impossible(l); why != "" {
				impossible = append(impossible, s.name+": "+why)
				continue
			}
		}
		if err := s.do(l); err != nil {
			t.Errorf("%s: %s: %v; the grid complains of %v", l.name, s.name, err, grid.Violations())
			break
		}
	}
	return impossible, grid.Secrets()
}

// checkWritten is for everything that Vault wrote and answered.
func checkWritten(t *testing.T, v *vault, secrets []string) {
	t.Helper()
	written, err := v.written()
	if err != nil {
		t.Fatal(err)
	}
	find := newFinder(secrets)
	for place, text := range written {
		if n, before := find.count(text); n > 0 || len(text) == 0 || len(secrets) < 10 {
			t.Errorf("%d of %d secrets in %d bytes of %s, the first after %q", n, len(secrets), len(text), place, before)
		}
	}
}

// do sends a request to the mount. It keeps the answer for the search for secrets, without
// the key that was asked for.
func (l *life) do(method, path string, body any) vaulttest.Response {
	return l.keep(l.v.do(method, l.mount+"/"+path, body))
}

// vaultMust sends a request to Vault itself.
func (l *life) vaultMust(method, path string, body any) (vaulttest.Response, error) {
	r := l.keep(l.v.do(method, path, body))
	return r, expect(r, path, http.StatusOK, http.StatusNoContent)
}

func (l *life) keep(r vaulttest.Response) vaulttest.Response {
	if !r.OK() {
		return r // v has it
	}
	key, _ := r.Data["api_key"].(string)
	raw, _ := json.Marshal(key) // cannot fail for a string; Vault escapes alike
	l.v.recordAnswer(bytes.Replace(r.Body, raw, nil, 1))
	return r
}

// want is do with the status that is right.
func (l *life) want(status int, method, path string, body any) (vaulttest.Response, error) {
	r := l.do(method, path, body)
	return r, expect(r, path, status)
}

func expect(r vaulttest.Response, what string, statuses ...int) error {
	if slices.Contains(statuses, r.Status) {
		return nil
	}
	return fmt.Errorf("%s answered %d instead of %d: %s", what, r.Status, statuses, strings.Join(r.Errors, "; "))
}

// await polls for what the plugin does in the background.
func (l *life) await(what string, met func() bool) error {
	for deadline := time.Now().Add(patience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s", what, patience)
		}
	}
	return nil
}

// read reads a path that returns the key of a user, and keeps the lease.
func (l *life) read(path string, user int) error {
	r, err := l.want(http.StatusOK, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	l.leases[user] = r.LeaseID
	id, _ := r.Data["user_id"].(float64)
	if key, _ := r.Data["api_key"].(string); key == "" || key != keyOf(l.grid, user) || int(id) != user {
		return fmt.Errorf("%s returned another key, or that of user %v", path, r.Data["user_id"])
	}
	return nil
}

func (l *life) lease(what string, user int, statuses ...int) error {
	r := l.v.do(http.MethodPost, "sys/leases/"+what, fields{"lease_id": l.leases[user], "sync": true})
	if unchecked := strings.Join(r.Warnings, "; "); strings.Contains(unchecked, "renewed although") {
		return fmt.Errorf("%s of the lease of %d: %s", what, user, unchecked)
	}
	return expect(r, fmt.Sprintf("%s of the lease of %d", what, user), statuses...)
}

func keysPath(user int) string { return fmt.Sprint("keys/", user) }
