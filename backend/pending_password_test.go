// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"fmt"
	"testing"
	"time"
)

// Refused passwords are kept for a day. After three of them no more are sent. A password
// that ECGrid may still apply prevents the deletion of the config.
func TestWithRefused(t *testing.T) {
	t.Parallel()
	now := clock(12, 0, 0)
	c := *stored()
	for i := range maxRefused {
		if !c.mayTryAnother() {
			t.Errorf("no other password may be sent after %d refusals", i)
		}
		c = c.withPending(fmt.Sprintf("p%d", i), now).withRefused(true, now)
	}
	if c.mayTryAnother() || c.refuseDelete(now) != nil {
		t.Errorf("after %d definite refusals: mayTryAnother %t, refuseDelete %v", maxRefused, c.mayTryAnother(), c.refuseDelete(now))
	}
	c = c.withPending("unclear", now).withRefused(false, now)
	for _, p := range c.Pending {
		if p.isUnresolved() || !p.Refused || p.Definite == (p.Password == "unclear") || !p.KeepUntil.Equal(now.Add(24*time.Hour)) {
			t.Errorf("wrong state of a refused password: %+v", p)
		}
	}
	if got := c.pendingPasswords(); fmt.Sprint(got) != "[unclear p2 p1 p0]" {
		t.Errorf("pending passwords %v, want the latest first", got)
	}
	wantErr(t, c.refuseDelete(now), ErrPasswordKept)
	wantErr(t, c.refuseDelete(now.Add(24*time.Hour)), ErrPasswordKept)
	check(t, c.refuseDelete(now.Add(24*time.Hour+1)))
	if c.hasExpired(now.Add(24*time.Hour)) || !c.hasExpired(now.Add(24*time.Hour+1)) || len(c.withoutExpired(now.Add(25*time.Hour)).Pending) != 0 {
		t.Error("passwords must expire after a day")
	}
}
