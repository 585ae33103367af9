// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Omitted fields stay. A new schedule or user plans the next rotation anew.
func TestRolePatch(t *testing.T) {
	t.Parallel()
	now := clock(12, 0, 0)
	user, hourly := ptr(int32(5001)), Schedule{Period: time.Hour}
	old := Role{
		UserID: 5001, Description: "d", TTL: time.Minute, MaxTTL: time.Hour, RotateOnRevoke: true, Schedule: hourly,
		Rotation: Rotation{Last: clock(11, 30, 0), Next: clock(12, 30, 0), NotBefore: clock(12, 31, 0), LastError: "x", Failures: 1},
		Rotating: Rotating{Fingerprint: "fingerprint", Due: clock(12, 30, 0)},
		Since:    clock(10, 0, 0),
	}
	with := func(change func(*Role)) *Role {
		r := old
		change(&r)
		return &r
	}
	planned := func(next time.Time) Rotation { return Rotation{Next: next, NotBefore: next} }
	for name, tt := range map[string]struct {
		old   *Role
		patch RolePatch
		want  *Role // nil: refused
	}{
		"only a user":              {nil, RolePatch{UserID: user}, &Role{UserID: 5001, Since: now}},
		"without a user":           {nil, RolePatch{Description: ptr("d")}, nil},
		"all fields":               {nil, RolePatch{UserID: user, Description: ptr("d"), TTL: ptr(time.Minute), MaxTTL: ptr(time.Hour), RotateOnRevoke: ptr(true), Schedule: SchedulePatch{Period: ptr(time.Hour)}}, &Role{UserID: 5001, Description: "d", TTL: time.Minute, MaxTTL: time.Hour, RotateOnRevoke: true, Schedule: hourly, Rotation: planned(clock(13, 0, 0)), Since: now}},
		"no field":                 {&old, RolePatch{}, &old},
		"the same values":          {&old, RolePatch{UserID: user, Schedule: SchedulePatch{Period: ptr(time.Hour)}}, &old},
		"description":              {&old, RolePatch{Description: ptr("")}, with(func(r *Role) { r.Description = "" })},
		"no rotate_on_revoke":      {&old, RolePatch{RotateOnRevoke: ptr(false)}, with(func(r *Role) { r.RotateOnRevoke = false })},
		"ttl above max_ttl":        {nil, RolePatch{UserID: user, TTL: ptr(2 * time.Hour), MaxTTL: ptr(time.Hour)}, nil},
		"ttl above the stored":     {&old, RolePatch{TTL: ptr(2 * time.Hour)}, nil},
		"max_ttl below the stored": {&old, RolePatch{MaxTTL: ptr(time.Second)}, nil},
		"ttl of max_ttl":           {&old, RolePatch{TTL: ptr(time.Hour)}, with(func(r *Role) { r.TTL = time.Hour })},
		"ttl without max_ttl":      {&old, RolePatch{TTL: ptr(2 * time.Hour), MaxTTL: ptr(time.Duration(0))}, with(func(r *Role) { r.TTL, r.MaxTTL = 2*time.Hour, 0 })},
		"ttl cleared":              {&old, RolePatch{TTL: ptr(time.Duration(0))}, with(func(r *Role) { r.TTL = 0 })},
		"an invalid schedule":      {&old, RolePatch{Schedule: SchedulePatch{Period: ptr(time.Second)}}, nil},
		"a longer period": {&old, RolePatch{Schedule: SchedulePatch{Period: ptr(2 * time.Hour)}}, with(func(r *Role) {
			r.Rotating, r.Schedule.Period, r.Rotation = Rotating{}, 2*time.Hour, replanned(r, clock(13, 30, 0))
		})},
		"a shorter period, due": {&old, RolePatch{Schedule: SchedulePatch{Period: ptr(time.Minute)}}, with(func(r *Role) {
			r.Rotating, r.Schedule.Period, r.Rotation = Rotating{}, time.Minute, replanned(r, clock(11, 31, 0))
		})},
		"to a schedule": {&old, RolePatch{Schedule: SchedulePatch{Period: ptr(time.Duration(0)), Cron: ptr("0 15 * * *")}}, with(func(r *Role) {
			r.Rotating, r.Schedule, r.Rotation = Rotating{}, Schedule{Cron: "0 15 * * *"}, replanned(r, clock(15, 0, 0))
		})},
		"no schedule any more": {&old, RolePatch{Schedule: SchedulePatch{Period: ptr(time.Duration(0))}}, with(func(r *Role) {
			r.Rotating, r.Schedule, r.Rotation.Next, r.Rotation.NotBefore = Rotating{}, Schedule{}, time.Time{}, time.Time{}
		})},
		"another user": {&old, RolePatch{UserID: ptr(int32(5002))}, with(func(r *Role) {
			r.UserID, r.Since, r.Rotation, r.Rotating = 5002, now, planned(clock(13, 0, 0)), Rotating{}
		})},
		"another user, other period": {&old, RolePatch{UserID: ptr(int32(5002)), Schedule: SchedulePatch{Period: ptr(2 * time.Hour)}}, with(func(r *Role) {
			r.UserID, r.Since, r.Schedule.Period, r.Rotation, r.Rotating = 5002, now, 2*time.Hour, planned(clock(14, 0, 0)), Rotating{}
		})},
		"another user, no schedule": {&Role{UserID: 5001, Rotation: Rotation{Last: now}}, RolePatch{UserID: ptr(int32(5002))}, &Role{UserID: 5002, Since: now}},
	} {
		got, err := tt.patch.apply(tt.old, now, 0)
		if tt.want == nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: got error %v, want ErrInvalid", name, err)
			}
			continue
		}
		if err != nil || got != *tt.want {
			t.Errorf("%s: error %v\ngot  %+v\nwant %+v", name, err, got, *tt.want)
		}
	}
}

func replanned(r *Role, next time.Time) Rotation {
	rotation := r.Rotation
	rotation.Next, rotation.NotBefore = next, next
	return rotation
}

// Roles are written, read, listed and deleted without a call to ECGrid.
func TestRoles(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		wantList := func(want ...string) {
			t.Helper()
			if names, err := e.ListRoles(t.Context()); !slices.Equal(names, want) || err != nil {
				t.Errorf("listed %v, error %v, want %v", names, err, want)
			}
		}
		wantErr(t, errOf(e.ReadRole(t.Context(), "a")), ErrRoleNotFound)
		wantList()
		writeRole(t, e, "b", RolePatch{})
		writeRole(t, e, "a", RolePatch{TTL: ptr(time.Hour)})
		writeRole(t, e, "a", RolePatch{Description: ptr("d")})
		if r := readRole(t, e, "a"); r != (Role{UserID: 5001, TTL: time.Hour, Description: "d", Since: clock(0, 0, 0)}) {
			t.Errorf("after two writes: %+v", r)
		}
		wantList("a", "b")
		for range 2 { // a role that does not exist can be deleted
			check(t, e.DeleteRole(t.Context(), "a"))
		}
		wantList("b")
		err := errOf(e.IssueCreds(t.Context(), "a", 0))
		wantErr(t, err, ErrRoleNotFound)
		wantStatus(t, err, http.StatusNotFound)
		wantErr(t, errOf(e.RotateRole(t.Context(), "a")), ErrRoleNotFound)
		checkCalls(t, f, "Login", 0)
	})
}

// If storage fails, requests fail and change nothing.
func TestRolesWhileStorageFails(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	patch := RolePatch{UserID: ptr(int32(5002))}
	for name, tt := range map[string]struct {
		fail func(*logical.InmemStorage, bool) *logical.InmemStorage
		do   func(*Engine) error
	}{
		"write, Put":     {(*logical.InmemStorage).FailPut, func(e *Engine) error { return e.WriteRole(ctx, "a", patch) }},
		"write, Get":     {(*logical.InmemStorage).FailGet, func(e *Engine) error { return e.WriteRole(ctx, "a", patch) }},
		"delete, Delete": {(*logical.InmemStorage).FailDelete, func(e *Engine) error { return e.DeleteRole(ctx, "a") }},
		"read, Get":      {(*logical.InmemStorage).FailGet, func(e *Engine) error { return errOf(e.ReadRole(ctx, "a")) }},
		"creds, Get":     {(*logical.InmemStorage).FailGet, func(e *Engine) error { return errOf(e.IssueCreds(ctx, "a", 0)) }},
		"rotate, Get":    {(*logical.InmemStorage).FailGet, func(e *Engine) error { return errOf(e.RotateRole(ctx, "a")) }},
		"list, List":     {(*logical.InmemStorage).FailList, func(e *Engine) error { return errOf(e.ListRoles(ctx)) }},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t)
			writeRole(t, e, "a", RolePatch{})
			tt.fail(storage, true)
			if err := tt.do(e); err == nil {
				t.Error("the request succeeded")
			}
			tt.fail(storage, false)
			if r := readRole(t, e, "a"); r.UserID != 5001 {
				t.Errorf("the role was changed to %+v", r)
			}
			checkChanges(t, f, 0)
			writeRole(t, e, "a", patch) // the lock is free
		})
	}
}

// No role may replace the api_key of the config. The write fails if ECGrid does not say
// whose key that is.
func TestRoleOfConfigUser(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		patch RolePatch
		down  error
		want  error
	}{
		"no rotation":      {RolePatch{UserID: ptr(int32(100))}, nil, nil},
		"rotate_on_revoke": {RolePatch{UserID: ptr(int32(100)), RotateOnRevoke: ptr(true)}, nil, ErrOwnKey},
		"schedule":         {RolePatch{UserID: ptr(int32(100)), Schedule: SchedulePatch{Period: ptr(time.Hour)}}, nil, ErrOwnKey},
		"another user":     {RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)}, nil, nil},
		"ECGrid is down":   {RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)}, ecgrid.ErrUnreachable, ecgrid.ErrUnreachable},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t, withAPIKey)
			f.failWith("WhoAmI", tt.down)
			wantErr(t, e.WriteRole(t.Context(), "a", tt.patch), tt.want)
			if tt.want != nil {
				wantErr(t, errOf(e.ReadRole(t.Context(), "a")), ErrRoleNotFound)
			} else {
				readRole(t, e, "a")
			}
		})
	}
}

// A role that rotates can be written before the config.
func TestRoleWithoutConfig(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		e := testEngine(t, newFake(), new(logical.InmemStorage))
		writeRole(t, e, "a", RolePatch{RotateOnRevoke: ptr(true)})
		wantErr(t, errOf(e.IssueCreds(t.Context(), "a", 0)), ErrNotConfigured)
		wantErr(t, errOf(e.RotateRole(t.Context(), "a")), ErrNotConfigured)
		wantErr(t, errOf(e.RotateKey(t.Context(), 5001)), ErrNotConfigured)
		wantErr(t, errOf(e.RotateRoot(t.Context())), ErrNotConfigured)
		e.Tick(t.Context())
	})
}

// A role write that waits for ECGrid does not delay other role requests.
func TestRoleWritesDoNotWaitForEachOther(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t, withAPIKey)
		f.latency = 5 * time.Second
		plain, rotating := RolePatch{UserID: ptr(int32(5001))}, RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)}
		waiting := make(chan error)
		go func() { waiting <- e.WriteRole(t.Context(), "rotating", rotating) }()
		time.Sleep(time.Second)
		checkWithin(t, 0, "a role write that needs no ECGrid", func() error { return e.WriteRole(t.Context(), "plain", plain) })
		checkWithin(t, 0, "a role read", func() error { return errOf(e.ReadRole(t.Context(), "plain")) })
		check(t, <-waiting)
		concurrently(10, func(i int) {
			checkWithin(t, 6*time.Second, "a role write", func() error { return e.WriteRole(t.Context(), fmt.Sprintf("r%d", i), rotating) })
		})
		if names, err := e.ListRoles(t.Context()); len(names) != 12 {
			t.Errorf("listed %v, error %v, want 12 roles", names, err)
		}
	})
}
