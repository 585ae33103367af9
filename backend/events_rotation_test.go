// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestEventsOfKeyRotations(t *testing.T) {
	ctx := context.Background()
	type fake = *fakeECGrid
	// do is a case of an operation on an ECGrid that was prepared.
	do := func(prepare func(f fake), operation func(e *Engine) error) func(*testing.T, fake, *Engine, *logical.InmemStorage) {
		return func(t *testing.T, f fake, e *Engine, _ *logical.InmemStorage) {
			if prepare != nil {
				prepare(f)
			}
			_ = operation(e)
		}
	}
	key := func(e *Engine) error { return errOf(e.RotateKey(ctx, 5001)) }
	role := func(e *Engine) error { return errOf(e.RotateRole(ctx, "plain")) }
	fails := func(err error) func(fake) {
		return func(f fake) { f.failWith("GenerateAPIKey", err) }
	}
	manual, ofRole := keyEvent("", ReasonManual), keyEvent("plain", ReasonManual)
	runEventCases(t, map[string]eventCase{
		"rotate-key":                       {do: do(nil, key), want: []Event{manual}},
		"rotate-key, denied":               {do: do(fails(ecgrid.ErrAccessDenied), key), want: []Event{manual.failed("access-denied", false)}},
		"rotate-key, not applied":          {do: do(fails(ecgrid.ErrRateLimited), key), want: []Event{manual.failed("not-applied", false)}},
		"rotate-key, unconfirmed":          {do: do(fails(ecgrid.ErrTimeout), key), want: []Event{manual.failed("unconfirmed", true)}},
		"rotate-key, answer lost, applied": {do: do(func(f fake) { f.lost["GenerateAPIKey"] = ecgrid.ErrTimeout }, key), want: []Event{manual}},
		"rotate-key, old key not read":     {do: do(func(f fake) { f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable) }, key), want: []Event{manual.failed("unreachable", false)}},
		"rotate-key, login refused":        {do: do(func(f fake) { f.password = "other" }, key), want: []Event{manual.failed("login-refused", false)}},
		"rotate-key, tainted":              {do: do(func(f fake) { f.tainted.Store(true) }, key)},
		"rotate-role":                      {do: do(nil, role), want: []Event{ofRole}},
		"rotate-role, denied":              {do: do(fails(ecgrid.ErrAccessDenied), role), want: []Event{ofRole.failed("access-denied", false)}},
		"rotate-role, no such role":        {do: do(nil, func(e *Engine) error { return errOf(e.RotateRole(ctx, "other")) })},
		"rotate-role, no config": {
			do:   do(nil, func(e *Engine) error { _ = e.DeleteConfig(ctx, noManager{}); return role(e) }),
			want: []Event{{Kind: EventConfigDeleted, Modified: true}, ofRole.failed("not-configured", false)},
		},
		"rotate-role, time not stored": {want: []Event{ofRole}, do: func(t *testing.T, f fake, e *Engine, storage *logical.InmemStorage) {
			f.on("GenerateAPIKey", func() { storage.Underlying().FailPut(true) })
			check(t, role(e)) // with a warning
		}},
	})
}

func TestEventsOfLeaseEnds(t *testing.T) {
	ended := keyEvent("counted", ReasonLeaseEnd)
	revoke := func(t *testing.T, e *Engine, l Issued) { _ = e.RevokeLease(t.Context(), l.Lease) }
	runEventCases(t, map[string]eventCase{
		"the last one": {want: []Event{ended}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			first, last := issueCreds(t, e, "counted"), issueCreds(t, e, "counted")
			revokeLeases(t, e, first)
			checkEvents(t, f)
			revokeLeases(t, e, last, last)
		}},
		"not counted": {do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			revokeLeases(t, e, issueCreds(t, e, "plain"))
		}},
		"key replaced before": {want: []Event{keyEvent("", ReasonManual)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			l := issueCreds(t, e, "counted")
			check(t, errOf(e.RotateKey(t.Context(), 5001)))
			revokeLeases(t, e, l)
		}},
		"denied, then replaced": {want: []Event{ended.failed("access-denied", false), ended}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			l := issueCreds(t, e, "counted")
			f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			revoke(t, e, l)
			f.failWith("GenerateAPIKey", nil)
			revoke(t, e, l)
		}},
		"user gone": {do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			l := issueCreds(t, e, "counted")
			f.failWith("UserGetAPIKey", ecgrid.ErrNotFound)
			revokeLeases(t, e, l)
		}},
		"by the plugin itself": {want: []Event{ended}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			check(t, e.DeleteRole(t.Context(), "hourly"))
			synctest.Wait()
			f.events.events = nil
			issueCreds(t, e, "counted")
			time.Sleep(800 * time.Hour)
			e.Tick(t.Context())
		}},
		"tainted": {do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			l := issueCreds(t, e, "counted")
			f.tainted.Store(true)
			revokeLeases(t, e, l)
		}},
	})
}

func TestEventsOfSchedules(t *testing.T) {
	scheduled := keyEvent("hourly", ReasonSchedule)
	due := func(t *testing.T, e *Engine) {
		time.Sleep(2 * time.Hour)
		e.Tick(t.Context())
	}
	runEventCases(t, map[string]eventCase{
		"role": {want: []Event{scheduled}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			e.Tick(t.Context())
			due(t, e)
			e.Tick(t.Context())
		}},
		"role, denied": {want: []Event{scheduled.failed("access-denied", false)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			due(t, e)
		}},
		"role, unconfirmed, then found": {want: []Event{scheduled.failed("unconfirmed", true), scheduled}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			f.applyAfter = []time.Duration{time.Minute}
			due(t, e)
			time.Sleep(2 * time.Minute)
			e.Tick(t.Context())
			checkChanges(t, f, 1)
		}},
		"role, success not stored": {want: []Event{scheduled.failed("internal", true), scheduled}, do: func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) {
			f.on("GenerateAPIKey", func() { storage.Underlying().FailPut(true) })
			due(t, e)
			f.on("GenerateAPIKey", nil)
			storage.Underlying().FailPut(false)
			e.Tick(t.Context())
			checkChanges(t, f, 1)
		}},
		"root": {config: withSchedule, want: []Event{rootEvent(ReasonSchedule), scheduled}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			due(t, e)
		}},
		"tainted": {config: withSchedule, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			f.tainted.Store(true)
			due(t, e)
		}},
	})
}

func TestEventsOfRotateRoot(t *testing.T) {
	ctx := context.Background()
	manual, settled := rootEvent(ReasonManual), rootEvent(ReasonSettled)
	// unconfirmed starts a rotate-root that ECGrid does not confirm.
	unconfirmed := func(t *testing.T, f *fakeECGrid, e *Engine) {
		f.failWith("ChangePassword", ecgrid.ErrTimeout)
		wantErr(t, errOf(e.RotateRoot(ctx)), ErrUnconfirmed)
	}
	runEventCases(t, map[string]eventCase{
		"success": {want: []Event{manual}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			check(t, errOf(e.RotateRoot(ctx)))
		}},
		"by the rotation manager": {want: []Event{rootEvent(ReasonSchedule)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			check(t, errOf(e.RotateManagedRoot(ctx)))
		}},
		"an api_key": {config: withAPIKey, want: []Event{manual.failed("invalid", false)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			wantErr(t, errOf(e.RotateRoot(ctx)), ErrInvalid)
		}},
		"refused": {want: []Event{manual.failed("access-denied", false)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			f.failWith("ChangePassword", ecgrid.ErrAccessDenied)
			wantErr(t, errOf(e.RotateRoot(ctx)), ecgrid.ErrAccessDenied)
		}},
		"refused, and applied late": {want: []Event{manual.failed("access-denied", false), {Kind: EventRoleDeleted, Role: "hourly", UserID: 5001, Modified: true}, settled}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			f.failWith("ChangePassword", ecgrid.ErrAccessDenied)
			wantErr(t, errOf(e.RotateRoot(ctx)), ecgrid.ErrAccessDenied)
			kept := storedConfig(t, e).Pending[0].Password
			f.set(func() { f.password = kept })
			check(t, e.DeleteRole(ctx, "hourly"))
			time.Sleep(25 * time.Hour)
			e.Tick(ctx)
			time.Sleep(time.Minute)
			checkHealthy(t, f, e)
		}},
		"pending not stored": {want: []Event{manual.failed("internal", false)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) {
			readKey(t, e, 5001)
			storage.Underlying().FailPut(true)
			wantErrs(t, errOf(e.RotateRoot(ctx)))
		}},
		"success not stored, then settled": {want: []Event{manual.failed("unconfirmed", true), settled}, do: func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) {
			f.on("ChangePassword", func() { storage.Underlying().FailPut(true) })
			wantErr(t, errOf(e.RotateRoot(ctx)), ErrUnconfirmed)
			f.on("ChangePassword", nil)
			storage.Underlying().FailPut(false)
			time.Sleep(time.Hour)
			checkHealthy(t, f, e)
		}},
		"unconfirmed, then changed": {want: []Event{manual.failed("unconfirmed", true), settled}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			unconfirmed(t, f, e)
			time.Sleep(30 * time.Minute) // tried again and again, without an event
			f.failWith("ChangePassword", nil)
			time.Sleep(time.Hour)
			checkHealthy(t, f, e)
		}},
		"unconfirmed, then unchanged": {want: []Event{manual.failed("unconfirmed", true), settled.failed("not-applied", false)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			unconfirmed(t, f, e)
			f.failWith("ChangePassword", ecgrid.ErrAccessDenied)
			time.Sleep(26 * time.Hour)
			checkHealthy(t, f, e)
		}},
		"unconfirmed, then unresolved": {want: []Event{manual.failed("unconfirmed", true), manual.failed("unresolved", true)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			unconfirmed(t, f, e)
			wantErr(t, errOf(e.RotateRoot(ctx)), ErrUnresolved)
		}},
		"unconfirmed, then continued": {want: []Event{manual.failed("unconfirmed", true), manual}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			unconfirmed(t, f, e)
			f.failWith("ChangePassword", nil)
			check(t, errOf(e.RotateRoot(ctx)))
		}},
		"tainted": {do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			f.tainted.Store(true)
			wantErr(t, errOf(e.RotateRoot(ctx)), ErrTainted)
		}},
	})
}

// A process that dies after the change and before its event loses the event. What the
// next process finds out itself is reported by that.
func TestEventsOfKilledProcess(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, op string, do func(e *Engine)) (*fakeECGrid, *Engine) {
		f, setup, storage := configured(t)
		writeRole(t, setup, "hourly", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		f.events.events = nil
		var p *process
		e, p := startProcess(t, f, storage, func(s step) error {
			if s.op == op && s.done {
				p.kill()
			}
			return nil
		})
		go do(e)
		time.Sleep(time.Minute)
		checkEvents(t, f)
		checkChanges(t, f, 1)
		return f, testEngine(t, f, storage)
	}
	runCase(t, "by hand", func(t *testing.T) {
		f, next := start(t, "GenerateAPIKey", func(e *Engine) { _, _ = e.RotateKey(context.Background(), 5001) })
		check(t, next.store.deleteRole(t.Context(), "hourly"))
		next.Start()
		tickFor(t, next, time.Hour)
		checkEvents(t, f)
	})
	runCase(t, "by schedule", func(t *testing.T) {
		f, next := start(t, "GenerateAPIKey", func(e *Engine) { e.Tick(context.Background()) })
		tickFor(t, next, time.Minute)
		checkEvents(t, f, keyEvent("hourly", ReasonSchedule))
		checkChanges(t, f, 1)
	})
	runCase(t, "rotate-root", func(t *testing.T) {
		f, next := start(t, "ChangePassword", func(e *Engine) { _, _ = e.RotateRoot(context.Background()) })
		next.Start()
		time.Sleep(time.Minute)
		checkEvents(t, f, rootEvent(ReasonSettled))
	})
}

// There is one event with the reason settled after an unconfirmed rotate-root, also if it was
// settled within the request.
func TestEventsOfRotateRootWithAFault(t *testing.T) {
	manual, settled := rootEvent(ReasonManual), rootEvent(ReasonSettled)
	runEventCases(t, map[string]eventCase{
		"a fault without a meaning": {want: []Event{manual.failed("unconfirmed", true), settled.failed("not-applied", false)}, do: func(t *testing.T, f *fakeECGrid, e *Engine, _ *logical.InmemStorage) {
			check(t, e.store.deleteRole(t.Context(), "hourly"))
			f.failWith("ChangePassword", ecgrid.ErrFault)
			wantErr(t, errOf(e.RotateRoot(context.Background())), ErrUnconfirmed)
			f.failWith("ChangePassword", nil)
			tickFor(t, e, 26*time.Hour)
		}},
	})
}
