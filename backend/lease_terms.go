// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"fmt"
	"time"
)

// Terms are how long a lease runs. 0 means the mount's own value, and Vault caps both at
// the mount's maximum. MaxTTL counts from the issue.
type Terms struct {
	TTL      time.Duration
	MaxTTL   time.Duration
	Warnings []string
}

// terms returns the terms of a lease under a role, or under the zero Role. TTL is what
// the request asked for, 0 for nothing. The lease was issued age ago.
func (c Config) terms(r Role, ttl time.Duration, now time.Time, age time.Duration) Terms {
	t := Terms{TTL: cmp.Or(ttl, r.TTL, c.TTL), MaxTTL: cmp.Or(r.MaxTTL, c.MaxTTL)}
	if t.MaxTTL > 0 && t.TTL > t.MaxTTL {
		t.Warnings = append(t.Warnings, fmt.Sprintf("ttl %s is above the configured max_ttl; the lease runs for %s", t.TTL, t.MaxTTL))
		t.TTL = t.MaxTTL
	}
	left, rotates := r.Rotation.timeLeft(now)
	if !rotates {
		return t
	}
	if t.TTL > left {
		t.Warnings = append(t.Warnings, fmt.Sprintf("the lease is cut to %s: it ends with the next rotation", left))
		t.TTL = left
	}
	// MaxTTL also cuts a TTL of 0, for which the mount's default may be shorter.
	if t.MaxTTL == 0 || t.MaxTTL > age+left {
		t.MaxTTL = age + left
	}
	return t
}
