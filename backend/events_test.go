// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// eventLog is Vault's side of events.
type eventLog struct {
	mu     sync.Mutex // guards the following
	events []Event
	take   func(ctx context.Context) error // decides whether an event is taken; nil takes all
}

func (l *eventLog) add(ctx context.Context, e Event) error {
	l.mu.Lock()
	take := l.take
	l.mu.Unlock()
	if take != nil {
		if err := take(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return nil
}

func (l *eventLog) taking(take func(ctx context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.take = take
}

func (l *eventLog) all() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// checkEvents waits until the queue is empty and compares the events so far.
func checkEvents(t *testing.T, f *fakeECGrid, want ...Event) {
	t.Helper()
	synctest.Wait()
	got := f.events.all()
	if slices.Equal(got, want) {
		return
	}
	t.Errorf("got %d events, want %d", len(got), len(want))
	for i := range max(len(got), len(want)) {
		if i < len(got) {
			t.Logf("got  %+v", got[i])
		}
		if i < len(want) {
			t.Logf("want %+v", want[i])
		}
	}
}

// The events of rotations of user 5001 and of the login.
func keyEvent(role string, why Reason) Event {
	return Event{Kind: EventKeyRotation, Role: role, UserID: 5001, Reason: why, Modified: true}
}

func rootEvent(why Reason) Event {
	return Event{Kind: EventRootRotation, Reason: why, Modified: true}
}

func (e Event) failed(class string, modified bool) Event {
	e.Error, e.Modified = class, modified
	return e
}

func withSchedule(c *Config) {
	c.Schedule, c.Root.Next = Schedule{Period: time.Hour}, time.Now().Add(time.Hour)
}

// eventCase does something on a mount with the roles plain, counted and hourly of user
// 5001, whose creation is not among the wanted events.
type eventCase struct {
	config func(*Config)
	do     func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage)
	want   []Event
}

func runEventCases(t *testing.T, cases map[string]eventCase) {
	t.Parallel()
	for name, tt := range cases {
		runCase(t, name, func(t *testing.T) {
			config := func(c *Config) {
				if tt.config != nil {
					tt.config(c)
				}
			}
			f, e, storage := configured(t, config)
			writeRole(t, e, "plain", RolePatch{})
			writeRole(t, e, "counted", RolePatch{RotateOnRevoke: ptr(true)})
			writeRole(t, e, "hourly", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
			synctest.Wait()
			f.events.mu.Lock()
			f.events.events = nil
			f.events.mu.Unlock()
			tt.do(t, f, e, storage)
			checkEvents(t, f, tt.want...)
		})
	}
}

func TestEventsOfConfigAndRoles(t *testing.T) {
	written, deleted := Event{Kind: EventConfigWritten, Modified: true}, Event{Kind: EventConfigDeleted, Modified: true}
	role := func(kind EventKind, name string, userID int32) Event {
		return Event{Kind: kind, Role: name, UserID: userID, Modified: true}
	}
	ctx := context.Background()
	runEventCases(t, map[string]eventCase{
		"config write": {want: []Event{written}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			writeConfig(t, e, ConfigPatch{TTL: ptr(time.Hour)})
		}},
		"config write, refused": {do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			if e.WriteConfig(ctx, ConfigPatch{Password: ptr("wrong")}, noManager{}) == nil || e.WriteConfig(ctx, ConfigPatch{TTL: ptr(time.Hour), MaxTTL: ptr(time.Minute)}, noManager{}) == nil {
				t.Error("a write was not refused")
			}
		}},
		"config write, not stored": {do: func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) {
			storage.Underlying().FailPut(true)
			if e.WriteConfig(ctx, ConfigPatch{TTL: ptr(time.Hour)}, noManager{}) == nil {
				t.Error("it was stored")
			}
		}},
		"config delete, twice": {want: []Event{deleted}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			check(t, e.DeleteConfig(ctx, noManager{}))
			check(t, e.DeleteConfig(ctx, noManager{}))
		}},
		"config delete, not stored": {do: func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) {
			storage.Underlying().FailDelete(true)
			wantErrs(t, e.DeleteConfig(ctx, noManager{}))
		}},
		"role": {
			want: []Event{role(EventRoleCreated, "new", 5002), role(EventRoleUpdated, "new", 5002), role(EventRoleUpdated, "new", 5001), role(EventRoleDeleted, "new", 5001)},
			do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
				writeRole(t, e, "new", RolePatch{UserID: ptr(int32(5002)), RotateOnRevoke: ptr(true)})
				check(t, e.WriteRole(ctx, "new", RolePatch{}))
				check(t, e.PatchRole(ctx, "new", RolePatch{UserID: ptr(int32(5001))}))
				check(t, e.DeleteRole(ctx, "new"))
				check(t, e.DeleteRole(ctx, "new"))
			},
		},
		"role, refused": {do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			wantErr(t, e.WriteRole(ctx, "new", RolePatch{}), ErrInvalid)
			wantErr(t, e.PatchRole(ctx, "new", RolePatch{UserID: ptr(int32(5001))}), ErrRoleNotFound)
		}},
		"role, not stored": {do: func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) {
			storage.Underlying().FailPut(true)
			storage.Underlying().FailDelete(true)
			wantErrs(t, e.WriteRole(ctx, "new", RolePatch{UserID: ptr(int32(5001))}), e.DeleteRole(ctx, "plain"))
		}},
		"role that cannot be read, deleted": {want: []Event{role(EventRoleDeleted, "plain", 0)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) {
			storage.Underlying().FailGet(true)
			check(t, e.DeleteRole(ctx, "plain"))
		}},
	})
}

// wantErrs checks that all operations have failed.
func wantErrs(t *testing.T, errs ...error) {
	t.Helper()
	for i, err := range errs {
		if err == nil {
			t.Errorf("operation %d did not fail", i)
		}
	}
}

func TestEventsOfReads(t *testing.T) {
	ctx := context.Background()
	runEventCases(t, map[string]eventCase{"reads": {do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
		readKey(t, e, 5001)
		first, last := issueCreds(t, e, "plain"), issueCreds(t, e, "hourly")
		check(t, errOf(e.RenewLease(ctx, first.Lease, Renewal{Issued: time.Now()})))
		revokeLeases(t, e, first, last)
		check(t, errOf(e.ReadConfig(ctx)))
		readRole(t, e, "plain")
		check(t, errOf(e.ListRoles(ctx)))
		_, _ = e.IssueKey(ctx, 9, 0)
		e.Tick(ctx)
	}}})
}

// A success is reported only for a change that ECGrid made, whichever step is broken.
func TestEventsOfBrokenSteps(t *testing.T) {
	t.Parallel()
	breakEachStep(t, 10, func(t *testing.T, b *breakage) {
		f, setup, storage := configured(t, withSchedule)
		writeRole(t, setup, "a", RolePatch{RotateOnRevoke: ptr(true), Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		time.Sleep(2 * time.Hour) // both rotations are due
		b.run(t, f, storage, func(e *Engine) {
			ctx := context.Background()
			e.Tick(ctx)
			if issued, err := e.IssueCreds(ctx, "a", 0); err == nil {
				_ = e.RevokeLease(ctx, issued.Lease)
			}
			_, _ = e.RotateRole(ctx, "a")
			_, _ = e.RotateRoot(ctx)
		})
		time.Sleep(time.Hour)
		rotated := 0
		for _, event := range f.events.all() {
			if event.Error == "" && event.Reason != "" {
				rotated++
			}
		}
		if changes := len(f.now().changes); rotated > changes {
			t.Errorf("%s: %d rotations were reported, and ECGrid made %d", b, rotated, changes)
		}
	})
}

// Every failure has a class, a word that tells nothing else.
func TestClasses(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/events.md")
	check(t, err)
	for _, m := range meanings {
		possible := !m.skipped && m.err != ErrKeyReplaced && m.err != ErrPasswordKept // a rotation does not end like that
		if possible && !strings.Contains(string(page), "`"+m.class+"`") {
			t.Errorf("docs/events.md does not list the class %s", m.class)
		}
		if m.class == "" || strings.ContainsAny(m.class, " _.") || strings.ToLower(m.class) != m.class {
			t.Errorf("%v has the class %q", m.err, m.class)
		}
	}
	if got := classOf(errors.New("anything")); got != "internal" {
		t.Errorf("got %q", got)
	}
	if got := classOf(&ecgrid.Error{Op: "Login", Kind: ecgrid.ErrTimeout, Sent: true}); got != "timeout" {
		t.Errorf("got %q", got)
	}
}
