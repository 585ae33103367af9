// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"testing"
	"time"
)

// A lease has the TTLs of the request, the role, the config or the mount, in this order.
// It ends with the next rotation of its role.
func TestTerms(t *testing.T) {
	t.Parallel()
	now := clock(12, 0, 0)
	until := func(d time.Duration) Rotation { return Rotation{Next: now.Add(d), NotBefore: now.Add(d + time.Minute)} }
	const h = time.Hour
	for name, tt := range map[string]struct {
		config        Config
		role          Role
		asked, issued time.Duration
		ttl, max      time.Duration
		warned        bool
	}{
		"the mount's":                        {},
		"the config's":                       {config: Config{TTL: 60, MaxTTL: 90}, ttl: 60, max: 90},
		"the request's":                      {config: Config{TTL: 60, MaxTTL: 90}, asked: 70, ttl: 70, max: 90},
		"cut to max_ttl":                     {config: Config{TTL: 60, MaxTTL: 90}, asked: 100, ttl: 90, max: 90, warned: true},
		"the request's, no config":           {asked: 100, ttl: 100},
		"max_ttl without ttl":                {config: Config{MaxTTL: 90}, max: 90},
		"the role's before the config's":     {config: Config{TTL: 5 * h, MaxTTL: 6 * h}, role: Role{TTL: h, MaxTTL: 2 * h}, ttl: h, max: 2 * h},
		"the config's if the role has none":  {config: Config{TTL: 5 * h, MaxTTL: 6 * h}, ttl: 5 * h, max: 6 * h},
		"the role's ttl above the config's":  {config: Config{MaxTTL: 2 * h}, role: Role{TTL: 3 * h}, ttl: 2 * h, max: 2 * h, warned: true},
		"the role's max_ttl above":           {config: Config{MaxTTL: 2 * h}, role: Role{TTL: 3 * h, MaxTTL: 4 * h}, ttl: 3 * h, max: 4 * h},
		"the config's ttl above the role's":  {config: Config{TTL: 5 * h}, role: Role{MaxTTL: 2 * h}, ttl: 2 * h, max: 2 * h, warned: true},
		"the request's before both":          {config: Config{TTL: h}, role: Role{TTL: 2 * h}, asked: 3 * h, ttl: 3 * h},
		"the request's, cut":                 {role: Role{MaxTTL: 2 * h}, asked: 3 * h, ttl: 2 * h, max: 2 * h, warned: true},
		"until the rotation":                 {role: Role{Rotation: until(h)}, max: h},
		"shorter than until the rotation":    {role: Role{TTL: h, Rotation: until(2 * h)}, ttl: h, max: 2 * h},
		"cut to the rotation":                {role: Role{TTL: 3 * h, Rotation: until(2 * h)}, ttl: 2 * h, max: 2 * h, warned: true},
		"max_ttl before the rotation":        {role: Role{TTL: h, MaxTTL: 90 * time.Minute, Rotation: until(2 * h)}, ttl: h, max: 90 * time.Minute},
		"overdue":                            {role: Role{TTL: h, MaxTTL: 2 * h, Rotation: until(-h)}, ttl: time.Minute, max: time.Minute, warned: true},
		"overdue, without a ttl":             {role: Role{Rotation: until(-h)}, max: time.Minute},
		"overdue, asked for less":            {role: Role{Rotation: until(-h)}, asked: time.Second, ttl: time.Second, max: time.Minute},
		"renewed: max_ttl counts from issue": {role: Role{TTL: h, Rotation: until(2 * h)}, issued: 5 * h, ttl: h, max: 7 * h},
		"renewed: not beyond the rotation":   {role: Role{TTL: 3 * h, Rotation: until(2 * h)}, issued: 5 * h, ttl: 2 * h, max: 7 * h, warned: true},
		"renewed: nor beyond max_ttl":        {role: Role{TTL: h, MaxTTL: 6 * h, Rotation: until(2 * h)}, issued: 5 * h, ttl: h, max: 6 * h},
		"renewed: overdue":                   {role: Role{TTL: h, Rotation: until(-h)}, issued: 5 * h, ttl: time.Minute, max: 5*h + time.Minute, warned: true},
		"renewed: no rotation":               {role: Role{TTL: h, MaxTTL: 6 * h}, issued: 5 * h, ttl: h, max: 6 * h},
	} {
		got := tt.config.terms(tt.role, tt.asked, now, tt.issued)
		if got.TTL != tt.ttl || got.MaxTTL != tt.max || (len(got.Warnings) > 0) != tt.warned {
			t.Errorf("%s: got %+v, want %+v", name, got, tt)
		}
	}
}
