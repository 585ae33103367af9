package backend

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestRolePatch(t *testing.T) {
	t.Parallel()
	now := clock(12, 0, 0)
	user, hourly := ptr(int32(5001)), Schedule{Period: time.Hour}
	old := Role{
		UserID: 5001, Description: "d", TTL: time.Minute, MaxTTL: time.Hour, RotateOnRevoke: true, Schedule: hourly,
		Rotation: Rotation{Last: clock(11, 30, 0), Next: clock(12, 30, 0), NotBefore: clock(12, 31, 0), LastError: "x", Failures: 1},
		Rotating: Rotating{Fingerprint: "fingerprint", Due: clock(12, 30, 0)},
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
		"a user is all it takes":   {nil, RolePatch{UserID: user}, &Role{UserID: 5001}},
		"without a user":           {nil, RolePatch{Description: ptr("d")}, nil},
		"all of it":                {nil, RolePatch{UserID: user, Description: ptr("d"), TTL: ptr(time.Minute), MaxTTL: ptr(time.Hour), RotateOnRevoke: ptr(true), Schedule: SchedulePatch{Period: ptr(time.Hour)}}, &Role{UserID: 5001, Description: "d", TTL: time.Minute, MaxTTL: time.Hour, RotateOnRevoke: true, Schedule: hourly, Rotation: planned(clock(13, 0, 0))}},
		"what is omitted stays":    {&old, RolePatch{}, &old},
		"the same again stays":     {&old, RolePatch{UserID: user, Schedule: SchedulePatch{Period: ptr(time.Hour)}}, &old},
		"description":              {&old, RolePatch{Description: ptr("")}, with(func(r *Role) { r.Description = "" })},
		"not on revoke any more":   {&old, RolePatch{RotateOnRevoke: ptr(false)}, with(func(r *Role) { r.RotateOnRevoke = false })},
		"ttl above max_ttl":        {nil, RolePatch{UserID: user, TTL: ptr(2 * time.Hour), MaxTTL: ptr(time.Hour)}, nil},
		"ttl above the stored":     {&old, RolePatch{TTL: ptr(2 * time.Hour)}, nil},
		"max_ttl below the stored": {&old, RolePatch{MaxTTL: ptr(time.Second)}, nil},
		"ttl of max_ttl":           {&old, RolePatch{TTL: ptr(time.Hour)}, with(func(r *Role) { r.TTL = time.Hour })},
		"ttl without max_ttl":      {&old, RolePatch{TTL: ptr(2 * time.Hour), MaxTTL: ptr(time.Duration(0))}, with(func(r *Role) { r.TTL, r.MaxTTL = 2*time.Hour, 0 })},
		"ttl cleared":              {&old, RolePatch{TTL: ptr(time.Duration(0))}, with(func(r *Role) { r.TTL = 0 })},
		"a schedule that is none":  {&old, RolePatch{Schedule: SchedulePatch{Period: ptr(time.Second)}}, nil},
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
		"another user": {&old, RolePatch{UserID: ptr(int32(5002))}, with(func(r *Role) { r.UserID, r.Rotation, r.Rotating = 5002, planned(clock(13, 0, 0)), Rotating{} })},
		"another user, other period": {&old, RolePatch{UserID: ptr(int32(5002)), Schedule: SchedulePatch{Period: ptr(2 * time.Hour)}}, with(func(r *Role) {
			r.UserID, r.Schedule.Period, r.Rotation, r.Rotating = 5002, 2*time.Hour, planned(clock(14, 0, 0)), Rotating{}
		})},
		"another user, no schedule": {&Role{UserID: 5001, Rotation: Rotation{Last: now}}, RolePatch{UserID: ptr(int32(5002))}, &Role{UserID: 5002}},
	} {
		got, err := tt.patch.apply(tt.old, now, 0)
		if tt.want == nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: not refused: %v", name, err)
			}
			continue
		}
		if err != nil || got != *tt.want {
			t.Errorf("%s: %v\n%+v\n%+v", name, err, got, *tt.want)
		}
	}
}

func replanned(r *Role, next time.Time) Rotation {
	rotation := r.Rotation
	rotation.Next, rotation.NotBefore = next, next
	return rotation
}

// writeRole writes a role of user 5001 or has the patch say otherwise.
func writeRole(t *testing.T, e *Engine, storage logical.Storage, name string, patch RolePatch) {
	t.Helper()
	if patch.UserID == nil {
		patch.UserID = ptr(int32(5001))
	}
	if err := e.WriteRole(t.Context(), name, patch); err != nil {
		t.Fatal(err)
	}
}

func readRole(t *testing.T, _ *Engine, storage logical.Storage, name string) Role {
	t.Helper()
	r, err := testEngine(newFake(), storage).ReadRole(t.Context(), name)
	if err != nil {
		t.Fatalf("role %q: %v", name, err)
	}
	return r
}

func TestRoles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		if _, err := e.ReadRole(t.Context(), "a"); !errors.Is(err, ErrRoleNotFound) {
			t.Errorf("what is not there: %v", err)
		}
		if names, err := e.ListRoles(t.Context()); len(names) != 0 || err != nil {
			t.Errorf("nothing to list: %v, %v", names, err)
		}
		writeRole(t, e, storage, "b", RolePatch{})
		writeRole(t, e, storage, "a", RolePatch{TTL: ptr(time.Hour)})
		writeRole(t, e, storage, "a", RolePatch{Description: ptr("d")})
		if r := readRole(t, e, storage, "a"); r != (Role{UserID: 5001, TTL: time.Hour, Description: "d"}) {
			t.Errorf("%+v", r)
		}
		if names, err := e.ListRoles(t.Context()); !slices.Equal(names, []string{"a", "b"}) || err != nil {
			t.Errorf("list: %v, %v", names, err)
		}
		for range 2 { // deleting what is gone is no error
			if err := e.DeleteRole(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		}
		if names, err := e.ListRoles(t.Context()); !slices.Equal(names, []string{"b"}) || err != nil {
			t.Errorf("list: %v, %v", names, err)
		}
		_, err := e.IssueCreds(t.Context(), "a", 0)
		if status, _, _ := Describe(err); !errors.Is(err, ErrRoleNotFound) || status != http.StatusNotFound {
			t.Errorf("creds of no role: %v", err)
		}
		if _, err := e.RotateRole(t.Context(), "a"); !errors.Is(err, ErrRoleNotFound) {
			t.Errorf("rotation of no role: %v", err)
		}
		if f.count("Login") != 0 {
			t.Error("roles were written with a call to ECGrid")
		}
	})
}

// Where storage fails, nothing has changed and it says so.
func TestRolesWithoutStorage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	patch := RolePatch{UserID: ptr(int32(5002))}
	for name, tt := range map[string]struct {
		fail func(*logical.InmemStorage, bool) *logical.InmemStorage
		do   func(*Engine, logical.Storage) error
	}{
		"write, Put":     {(*logical.InmemStorage).FailPut, func(e *Engine, s logical.Storage) error { return e.WriteRole(ctx, "a", patch) }},
		"write, Get":     {(*logical.InmemStorage).FailGet, func(e *Engine, s logical.Storage) error { return e.WriteRole(ctx, "a", patch) }},
		"delete, Delete": {(*logical.InmemStorage).FailDelete, func(e *Engine, s logical.Storage) error { return e.DeleteRole(ctx, "a") }},
		"read, Get":      {(*logical.InmemStorage).FailGet, func(e *Engine, s logical.Storage) error { _, err := e.ReadRole(ctx, "a"); return err }},
		"creds, Get":     {(*logical.InmemStorage).FailGet, func(e *Engine, s logical.Storage) error { _, err := e.IssueCreds(ctx, "a", 0); return err }},
		"rotate, Get":    {(*logical.InmemStorage).FailGet, func(e *Engine, s logical.Storage) error { _, err := e.RotateRole(ctx, "a"); return err }},
		"list, List":     {(*logical.InmemStorage).FailList, func(e *Engine, s logical.Storage) error { _, err := e.ListRoles(ctx); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				writeRole(t, e, storage, "a", RolePatch{})
				tt.fail(storage, true)
				if err := tt.do(e, storage); err == nil {
					t.Error("no error")
				}
				tt.fail(storage, false)
				if r := readRole(t, e, storage, "a"); r.UserID != 5001 {
					t.Errorf("changed: %+v", r)
				}
				if f.changed() != 0 {
					t.Error("a key was replaced")
				}
				writeRole(t, e, storage, "a", patch) // no lock is left behind
				e.Close()
			})
		})
	}
}

// The user whose api_key the config uses has no role that replaces that key; which
// user that is has to be known.
func TestRoleOfTheConfigsOwnUser(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		patch RolePatch
		down  error
		want  error
	}{
		"a mere name":              {RolePatch{UserID: ptr(int32(100))}, nil, nil},
		"on revoke":                {RolePatch{UserID: ptr(int32(100)), RotateOnRevoke: ptr(true)}, nil, ErrOwnKey},
		"on schedule":              {RolePatch{UserID: ptr(int32(100)), Schedule: SchedulePatch{Period: ptr(time.Hour)}}, nil, ErrOwnKey},
		"another user":             {RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)}, nil, nil},
		"ECGrid does not say whom": {RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)}, ecgrid.ErrUnreachable, ecgrid.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.failWith("WhoAmI", tt.down)
				e, _ := configured(t, f, withAPIKey)
				err := e.WriteRole(t.Context(), "a", tt.patch)
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if stored := rolePresent(t, e, "a"); stored != (tt.want == nil) {
					t.Errorf("stored: %v", stored)
				}
				e.Close()
			})
		})
	}
}

// withAPIKey configures the API key of user 100.
func withAPIKey(c *Config) { c.Username, c.Password, c.APIKey = "", "", "api-key" }

// A role that replaces keys can be written before there is a config.
func TestRoleWithoutConfig(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		storage := new(logical.InmemStorage)
		e := testEngine(f, storage)
		writeRole(t, e, storage, "a", RolePatch{RotateOnRevoke: ptr(true)})
		for _, err := range []error{
			func() error { _, err := e.IssueCreds(t.Context(), "a", 0); return err }(),
			func() error { _, err := e.RotateRole(t.Context(), "a"); return err }(),
			func() error { _, err := e.RotateKey(t.Context(), 5001); return err }(),
			func() error { _, err := e.RotateRoot(t.Context()); return err }(),
		} {
			if !errors.Is(err, ErrNotConfigured) {
				t.Errorf("got %v", err)
			}
		}
		e.Tick(t.Context())
	})
}

func TestRoleTerms(t *testing.T) {
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
		"the role's before the config's":      {config: Config{TTL: 5 * h, MaxTTL: 6 * h}, role: Role{TTL: h, MaxTTL: 2 * h}, ttl: h, max: 2 * h},
		"the config's where it has none":      {config: Config{TTL: 5 * h, MaxTTL: 6 * h}, ttl: 5 * h, max: 6 * h},
		"the role's ttl above the config's":   {config: Config{MaxTTL: 2 * h}, role: Role{TTL: 3 * h}, ttl: 2 * h, max: 2 * h, warned: true},
		"the role's max_ttl above":            {config: Config{MaxTTL: 2 * h}, role: Role{TTL: 3 * h, MaxTTL: 4 * h}, ttl: 3 * h, max: 4 * h},
		"the config's ttl above the role's":   {config: Config{TTL: 5 * h}, role: Role{MaxTTL: 2 * h}, ttl: 2 * h, max: 2 * h, warned: true},
		"the request's before both":           {config: Config{TTL: h}, role: Role{TTL: 2 * h}, asked: 3 * h, ttl: 3 * h},
		"the request's, cut":                  {role: Role{MaxTTL: 2 * h}, asked: 3 * h, ttl: 2 * h, max: 2 * h, warned: true},
		"until the rotation":                  {role: Role{Rotation: until(h)}, max: h},
		"shorter than until the rotation":     {role: Role{TTL: h, Rotation: until(2 * h)}, ttl: h, max: 2 * h},
		"cut to the rotation":                 {role: Role{TTL: 3 * h, Rotation: until(2 * h)}, ttl: 2 * h, max: 2 * h, warned: true},
		"max_ttl before the rotation":         {role: Role{TTL: h, MaxTTL: 90 * time.Minute, Rotation: until(2 * h)}, ttl: h, max: 90 * time.Minute},
		"overdue":                             {role: Role{TTL: h, MaxTTL: 2 * h, Rotation: until(-h)}, ttl: time.Minute, max: time.Minute, warned: true},
		"overdue, without a ttl":              {role: Role{Rotation: until(-h)}, max: time.Minute},
		"overdue, asked for less":             {role: Role{Rotation: until(-h)}, asked: time.Second, ttl: time.Second, max: time.Minute},
		"renewed: the maximum is from issue":  {role: Role{TTL: h, Rotation: until(2 * h)}, issued: 5 * h, ttl: h, max: 7 * h},
		"renewed: not beyond the rotation":    {role: Role{TTL: 3 * h, Rotation: until(2 * h)}, issued: 5 * h, ttl: 2 * h, max: 7 * h, warned: true},
		"renewed: nor beyond max_ttl":         {role: Role{TTL: h, MaxTTL: 6 * h, Rotation: until(2 * h)}, issued: 5 * h, ttl: h, max: 6 * h},
		"renewed: overdue":                    {role: Role{TTL: h, Rotation: until(-h)}, issued: 5 * h, ttl: time.Minute, max: 5*h + time.Minute, warned: true},
		"renewed: no rotation, nothing to do": {role: Role{TTL: h, MaxTTL: 6 * h}, issued: 5 * h, ttl: h, max: 6 * h},
	} {
		got := tt.config.terms(tt.role, tt.asked, now, tt.issued)
		if got.TTL != tt.ttl || got.MaxTTL != tt.max || (len(got.Warnings) > 0) != tt.warned {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What becomes of a role decides whether its leases are renewed; they can be
// revoked in any case.
func TestRenewUnderARole(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(t *testing.T, e *Engine, storage logical.Storage)
		want   error
		ttl    time.Duration
	}{
		"as it was": {func(*testing.T, *Engine, logical.Storage) {}, nil, time.Hour},
		"deleted":   {func(t *testing.T, e *Engine, s logical.Storage) { _ = e.DeleteRole(t.Context(), "a") }, ErrRoleNotFound, 0},
		"another user": {func(t *testing.T, e *Engine, s logical.Storage) {
			writeRole(t, e, s, "a", RolePatch{UserID: ptr(int32(5002))})
		}, ErrKeyReplaced, 0},
		"another ttl": {func(t *testing.T, e *Engine, s logical.Storage) {
			writeRole(t, e, s, "a", RolePatch{TTL: ptr(time.Minute)})
		}, nil, time.Minute},
		"a schedule": {func(t *testing.T, e *Engine, s logical.Storage) {
			writeRole(t, e, s, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(10 * time.Minute)}})
		}, nil, 10 * time.Minute},
		"rotated":         {func(t *testing.T, e *Engine, s logical.Storage) { _, _ = e.RotateRole(t.Context(), "a") }, ErrKeyReplaced, 0},
		"rotated outside": {func(t *testing.T, e *Engine, s logical.Storage) { _, _ = e.RotateKey(t.Context(), 5001) }, ErrKeyReplaced, 0},
	} {
		for _, counted := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					e, storage := configured(t, f)
					writeRole(t, e, storage, "a", RolePatch{TTL: ptr(time.Hour), RotateOnRevoke: &counted})
					issued, err := e.IssueCreds(t.Context(), "a", 0)
					if err != nil {
						t.Fatal(err)
					}
					if issued.Lease.Role != "a" || issued.Lease.Counted != counted {
						t.Errorf("%+v", issued.Lease)
					}
					at := time.Now()
					tt.change(t, e, storage)
					terms, err := e.RenewLease(t.Context(), issued.Lease, Renewal{Issued: at, Was: issued.Terms})
					if !errors.Is(err, tt.want) || terms.TTL != tt.ttl {
						t.Errorf("got %v for %s, want %v for %s", err, terms.TTL, tt.want, tt.ttl)
					}
					if err := e.RevokeLease(t.Context(), issued.Lease); err != nil {
						t.Errorf("revoke: %v", err)
					}
					if counted && f.key(5001) == issued.APIKey {
						t.Error("the key outlived its last lease")
					}
					e.Close()
				})
			})
		}
	}
}
