// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"testing"
	"time"
)

// A session is orphaned if its client could not know of it, or could not end it.
func TestOrphanedSessions(t *testing.T) {
	t.Parallel()
	s, c := startServer(t)
	s.SetRates(Rates{Lost: 1})
	if id, _ := c.call("Login", rootLogin, firstPassword); id != "" || s.MaxOpenSessions(rootLogin) != 1 || len(s.OpenSessions(rootLogin)) != 0 {
		t.Error("a session whose answer was lost is not orphaned")
	}
	s.SetRates(Rates{})
	id, err := c.call("Login", rootLogin, firstPassword)
	if err != nil {
		t.Fatal(err)
	}
	s.SetRates(Rates{Never: 1})
	if _, err := c.call("Logout", id); err == nil || len(s.OpenSessions(rootLogin)) != 0 {
		t.Error("a session whose Logout failed is not orphaned")
	}
	s.SetRates(Rates{})
	if _, err := c.call("UserGetAPIKey", id, "2"); err != nil || len(s.OpenSessions(rootLogin)) != 1 {
		t.Error("a used session is orphaned:", err)
	}
}

// A Login can be in flight when its client is killed.
func TestOrphanedLoginInFlight(t *testing.T) {
	t.Parallel()
	s, c := startServer(t)
	s.SetRates(Rates{Latency: time.Second})
	answered := make(chan string)
	go func() {
		id, _ := c.call("Login", rootLogin, firstPassword)
		answered <- id
	}()
	for s.Counts()["Login"] == 0 {
		time.Sleep(time.Millisecond)
	}
	s.OrphanSessions(time.Now())
	id := <-answered
	if id == "" || len(s.OpenSessions(rootLogin)) != 0 {
		t.Error("the session of a Login in flight is not orphaned")
	}
	s.SetRates(Rates{})
	if _, err := c.call("WhoAmI", id); err != nil || len(s.OpenSessions(rootLogin)) != 1 {
		t.Error("a used session is orphaned:", err)
	}
	if _, err := c.call("Login", rootLogin, firstPassword); err != nil || len(s.OpenSessions(rootLogin)) != 2 {
		t.Error("the session of a later Login is orphaned:", err)
	}
}
