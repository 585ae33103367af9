// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/simulator"
)

// eventRecorder is Vault's side of events.
type eventRecorder struct {
	mu      sync.Mutex // guards the following
	events  []sentEvent
	seen    int           // those that a test has looked at
	changed chan struct{} // closed at the next event
	json    strings.Builder
	err     error // what Vault answers
}

type sentEvent struct {
	kind     string
	metadata map[string]any
}

func newEventRecorder() *eventRecorder { return &eventRecorder{changed: make(chan struct{})} }

func (r *eventRecorder) SendEvent(_ context.Context, kind logical.EventType, data *logical.EventData) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	if err := json.NewEncoder(&r.json).Encode(data); err != nil {
		return err
	}
	r.events = append(r.events, sentEvent{string(kind), data.Metadata.AsMap()})
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// text is all events as JSON.
func (r *eventRecorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.json.String()
}

// next returns the event after the one that was returned last.
func (r *eventRecorder) next(t testing.TB) sentEvent {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		changed := r.changed
		if r.seen < len(r.events) {
			defer r.mu.Unlock()
			r.seen++
			return r.events[r.seen-1]
		}
		r.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			t.Fatal("there is no further event")
		}
	}
}

// expectEvent compares the next event. Its operation is the end of its type.
func (m *testMount) expectEvent(operation string, want fields) {
	m.t.Helper()
	got := m.events.next(m.t)
	want = maps.Clone(want)
	want["operation"] = operation
	if got.kind != "ecgrid/"+operation || !maps.Equal(got.metadata, want) {
		m.t.Errorf("got %s %v, want ecgrid/%s %v", got.kind, got.metadata, operation, want)
	}
}

// expectNoEvent causes an event, which must be the next one.
func (m *testMount) expectNoEvent() {
	m.t.Helper()
	m.role("marker", nil)
	m.must(logical.DeleteOperation, "roles/marker", nil)
	m.expectEvent("role-create", fields{"modified": "true", "path": "roles/marker", "data_path": "roles/marker", "name": "marker", "user_id": "5001"})
	m.expectEvent("role-delete", fields{"modified": "true", "path": "roles/marker", "name": "marker", "user_id": "5001"})
}

var configWritten = fields{"modified": "true", "path": "config", "data_path": "config"}

// ofRole is the metadata of an event about the role team.
func ofRole(reason string, more fields) fields {
	metadata := fields{"modified": "true", "path": "rotate-role/team", "data_path": "creds/team", "name": "team", "user_id": "5001", "reason": reason}
	maps.Copy(metadata, more)
	return metadata
}

func ofUser(more fields) fields {
	metadata := fields{"modified": "true", "path": "rotate-key/5001", "data_path": "keys/5001", "name": "5001", "user_id": "5001", "reason": "manual"}
	maps.Copy(metadata, more)
	return metadata
}

func ofRoot(reason string, more fields) fields {
	metadata := fields{"modified": "true", "path": "rotate-root", "reason": reason}
	maps.Copy(metadata, more)
	return metadata
}

func TestEvents(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freezeClock()
	m.configure(nil)
	m.expectEvent("config-write", configWritten)
	m.must(logical.PatchOperation, "config", fields{"ttl": "1h"})
	m.expectEvent("config-write", configWritten)
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", fields{"password": "wrong"})
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", fields{"unknown": "1"})
	m.expectNoEvent()

	team := fields{"modified": "true", "path": "roles/team", "data_path": "roles/team", "name": "team", "user_id": "5001"}
	m.role("team", fields{"rotate_on_revoke": true})
	m.expectEvent("role-create", team)
	m.must(logical.PatchOperation, "roles/team", fields{"rotation_period": "1h"})
	m.expectEvent("role-update", team)

	m.must(logical.UpdateOperation, "rotate-key/5001", nil)
	m.expectEvent("rotate", ofUser(nil))
	m.must(logical.UpdateOperation, "rotate-role/team", nil)
	m.expectEvent("rotate", ofRole("manual", nil))
	m.must(logical.ReadOperation, "keys/5001", nil)
	lease := m.must(logical.ReadOperation, "creds/team", nil).Secret
	m.expectNoEvent()
	m.revoke(lease)
	m.expectEvent("rotate", ofRole("lease-end", nil))
	clock.advance(dueAfter)
	m.tick()
	m.expectEvent("rotate", ofRole("schedule", nil))

	m.must(logical.UpdateOperation, "rotate-root", nil)
	m.expectEvent("rotate-root", ofRoot("manual", nil))
	if err := m.rotationJob(); err != nil {
		t.Error(err)
	}
	m.expectEvent("rotate-root", ofRoot("schedule", nil))

	m.must(logical.DeleteOperation, "roles/team", nil)
	m.expectEvent("role-delete", fields{"modified": "true", "path": "roles/team", "name": "team", "user_id": "5001"})
	m.must(logical.DeleteOperation, "config", nil)
	m.expectEvent("config-delete", fields{"modified": "true", "path": "config"})
	m.expectNoEvent()
}

// A failed rotation has an event. It holds nothing of ECGrid's answer.
func TestEventsOfFailures(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	m.events.next(t)
	m.events.next(t)
	denied := fields{"modified": "false", "error": "access-denied"}
	clear := m.sim.Inject(simulator.Fault{Op: "GenerateAPIKey", Cause: simulator.AccessDenied, Echo: true})
	m.refused(http.StatusForbidden, logical.UpdateOperation, "rotate-key/5001", nil)
	m.expectEvent("rotate-fail", ofUser(denied))
	m.refused(http.StatusForbidden, logical.UpdateOperation, "rotate-role/team", nil)
	m.expectEvent("rotate-fail", ofRole("manual", denied))
	clear()
	m.refused(http.StatusNotFound, logical.UpdateOperation, "rotate-role/other", nil)
	m.expectNoEvent()

	clear = m.sim.Inject(simulator.Fault{Op: "ChangePassword", Cause: simulator.AccessDenied, Echo: true})
	m.refused(http.StatusForbidden, logical.UpdateOperation, "rotate-root", nil)
	m.expectEvent("rotate-root-fail", ofRoot("manual", denied))
	clear()
	clear = m.sim.Inject(simulator.Fault{Op: "ChangePassword", Answer: simulator.AnswerReset})
	m.refused(http.StatusConflict, logical.UpdateOperation, "rotate-root", nil)
	m.expectEvent("rotate-root-fail", ofRoot("manual", fields{"error": "unconfirmed"}))
	clear()
	m.expectEvent("rotate-root", ofRoot("settled", nil))
	m.expectResolved()
}

// A Vault that takes no events changes nothing else. Vault Community is not told apart.
func TestEventsAreRefused(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.events.err = errors.New("event broker has not been started")
	m.configure(nil)
	m.must(logical.UpdateOperation, "rotate-key/5001", nil)
	m.must(logical.UpdateOperation, "rotate-root", nil)
	m.backend.Cleanup(t.Context()) // waits for the events
	if n := strings.Count(m.log.String(), "does not take events"); n != 1 {
		t.Errorf("it is logged %d times, want once", n)
	}
}

// The page lists all events.
func TestEventsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind, row := range eventTable {
		if !strings.Contains(string(page), "`ecgrid/"+row.operation+"`") {
			t.Errorf("the page does not have %s (%s)", row.operation, kind)
		}
	}
}

// A backend without an events system is no failure.
func TestNoEvents(t *testing.T) {
	t.Parallel()
	m := &mount{Backend: &framework.Backend{}}
	if err := m.notify(t.Context(), backend.Event{Kind: backend.EventConfigWritten}); err != nil {
		t.Error(err)
	}
}

// The last events of a mount are sent before it ends.
func TestEventsBeforeCleanup(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	m.backend.Cleanup(t.Context())
	m.events.mu.Lock()
	defer m.events.mu.Unlock()
	if n := len(m.events.events); n != 2 {
		t.Errorf("%d events were sent, want 2", n)
	}
}
