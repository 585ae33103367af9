// SPDX-License-Identifier: MPL-2.0

package backend

// EventKind says what an Event is about.
type EventKind string

// The kinds of events. No read causes one.
const (
	EventConfigWritten EventKind = "config written"
	EventConfigDeleted EventKind = "config deleted"
	EventRoleCreated   EventKind = "role created"
	EventRoleUpdated   EventKind = "role updated"
	EventRoleDeleted   EventKind = "role deleted"
	EventKeyRotation   EventKind = "key rotation"
	EventRootRotation  EventKind = "rotate-root"
)

// Reason is why something was rotated.
type Reason string

// The reasons of a rotation.
const (
	ReasonManual   Reason = "manual"    // a request
	ReasonSchedule Reason = "schedule"  // of the role or of the config
	ReasonLeaseEnd Reason = "lease-end" // the last counted lease of the key
	ReasonSettled  Reason = "settled"   // it is known now how an unconfirmed rotate-root ended
)

// Event is a change of what is stored, or a rotation. It contains no secret and nothing
// that ECGrid sent.
type Event struct {
	Kind   EventKind
	Role   string // "" if it is not about a role
	UserID int32  // 0 if it is not about a user
	Reason Reason // of a rotation
	// Error is the class of a failed rotation, a word of the table of meanings. It is ""
	// if the rotation succeeded.
	Error string
	// Modified is true if the change was made, and if ECGrid may have made it.
	Modified bool
}

// sendEvent sends an event about a change that is stored.
func (c *connections) sendEvent(e Event) {
	e.Modified = true
	c.events.add(e)
}

// rotationEnded counts a rotation and sends an event about it. One that was not due after all,
// or that a mount that is being removed refuses, is not counted and has no event.
func (c *connections) rotationEnded(e Event, failed error) {
	m := meaningOf(failed)
	if m.skipped {
		return
	}
	c.countRotation(e, failed)
	switch {
	case failed != nil:
		e.Error = classOf(failed)
		e.Modified = e.Modified || m.maybeApplied
	default:
		e.Modified = true
	}
	c.events.add(e)
}
