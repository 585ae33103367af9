// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"sync"
	"time"

	"vault-plugin-ecgrid/backend/metrics"
)

// roleRotations records the state of the rotations of all roles, so that a scrape reads no role
// from storage. It follows every read and write of the agenda.
type roleRotations struct {
	roles *calendar // knows whether all roles were read

	mu     sync.Mutex // guards the following
	byName map[string]roleRotation
}

type roleRotation struct {
	last, next time.Time
	failing    bool
}

func newRoleRotations(roles *calendar) *roleRotations {
	return &roleRotations{roles: roles, byName: map[string]roleRotation{}}
}

// written records a role that was written, nil for one that was deleted. The calendar knows
// of the write already.
func (r *roleRotations) written(name string, role *Role) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(name, role)
}

// read records a role that was read from storage, unless it was written meanwhile.
func (r *roleRotations) read(name string, role *Role) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.roles.isUnread(name) {
		r.set(name, role)
	}
}

// set records a role. The caller holds mu.
func (r *roleRotations) set(name string, role *Role) {
	if role == nil || role.Rotation == (Rotation{}) {
		delete(r.byName, name)
		return
	}
	r.byName[name] = roleRotation{last: role.Rotation.Last, next: role.Rotation.Next, failing: role.Rotation.Failures > 0}
}

// sum sums up the roles that were read, or returns nil if they were not listed yet.
func (r *roleRotations) sum(now time.Time) *metrics.Roles {
	if r.roles.count() == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := metrics.Roles{Incomplete: len(r.roles.unreadNames()) > 0}
	for _, role := range r.byName {
		if role.last.After(s.Last) {
			s.Last = role.last
		}
		if role.next.IsZero() {
			continue
		}
		s.Scheduled++
		if role.failing {
			s.Failing++
		}
		if now.After(role.next) {
			s.Overdue++
		}
		if s.Next.IsZero() || role.next.Before(s.Next) {
			s.Next = role.next
		}
	}
	return &s
}
