package backend

import (
	"fmt"
	"testing"
	"time"
)

// None of the passwords that ECGrid refused is forgotten for another: after three no
// more are sent. What may yet be made keeps the config from being deleted.
func TestWithRefused(t *testing.T) {
	t.Parallel()
	now := clock(12, 0, 0)
	c := *stored()
	for i := range maxRefused {
		if !c.mayTryAnother() {
			t.Errorf("no more after %d", i)
		}
		c = c.withPending(fmt.Sprintf("p%d", i), now).withRefused(true, now)
	}
	if c.mayTryAnother() || c.hasOnlyCopy(now) {
		t.Errorf("%d were refused: another may be sent %v, one may be lost %v", maxRefused, c.mayTryAnother(), c.hasOnlyCopy(now))
	}
	c = c.withPending("in doubt", now).withRefused(false, now)
	for _, p := range c.Pending {
		if p.isUnresolved() || !p.Refused || p.Definite == (p.Password == "in doubt") || !p.KeepUntil.Equal(now.Add(24*time.Hour)) {
			t.Errorf("%+v", p)
		}
	}
	if got := c.pendingPasswords(); fmt.Sprint(got) != "[in doubt p2 p1 p0]" {
		t.Errorf("candidates %v", got)
	}
	if !c.hasOnlyCopy(now) || c.hasOnlyCopy(now.Add(25*time.Hour)) {
		t.Error("what may be lost")
	}
	if c.hasExpired(now.Add(24*time.Hour)) || !c.hasExpired(now.Add(24*time.Hour+1)) || len(c.withoutExpired(now.Add(25*time.Hour)).Pending) != 0 {
		t.Error("what has expired")
	}
}
