package backend

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// rotatedOnce has the password "right", which an operator wrote, superseded.
func rotatedOnce(t *testing.T) (*Engine, *fakeECGrid, logical.Storage) {
	t.Helper()
	f := newFake()
	storage := new(logical.InmemStorage)
	e := testEngine(f, storage)
	if err := e.WriteConfig(t.Context(), ConfigPatch{Username: ptr("login"), Password: ptr("right")}, noManager{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e, f, storage
}

// An operator's password that was written without a try, and was seen to work by
// rotate-root, is superseded like any other: written again it must not take the place
// of the one that only Vault knows.
func TestAttackReappliedPasswordThatWasNotVerified(t *testing.T) {
	t.Parallel()
	for name, verify := range map[string]*bool{"written again without a try": ptr(false), "written again with one": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e, f, storage := rotatedOnce(t)
				defer e.Close()
				write := func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
				f.set(func() { f.password = "by support" }) // after a reset there
				if err := write(ConfigPatch{Password: ptr("by support"), VerifyConnection: ptr(false)}); err != nil {
					t.Fatal(err)
				}
				if _, err := e.RotateRoot(t.Context()); err != nil { // which shows that it works
					t.Fatal(err)
				}
				err := write(ConfigPatch{Password: ptr("by support"), VerifyConnection: verify})
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("a superseded password was taken or tried: %v", err)
				}
				holdsPasswordOfNow(t, f, storage)
				if n := f.refusedLogins(); n != 0 {
					t.Errorf("%d refused logins", n)
				}
			})
		})
	}
}

const theirREST = "https://rest.ecgrid.io/v4.1/prod/ECGridOS.asmx"

// The login is the same account at both of the vendor's endpoints: what is kept, and
// what is remembered of the operator's password, holds there too.
func TestAttackMoveBetweenVendorEndpointsForgetsNothing(t *testing.T) {
	t.Parallel()
	t.Run("a kept password lands", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f, e, raw := faulting(t, 5*time.Minute)
			defer e.Close()
			_, _ = e.RotateRoot(t.Context())
			if err := e.WriteConfig(t.Context(), ConfigPatch{URL: ptr(theirREST)}, noManager{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			for range 60 {
				_, _ = e.IssueKey(t.Context(), 5001, 0)
				time.Sleep(time.Minute)
				e.Tick(t.Context())
			}
			settled(t, f.fakeECGrid, e, raw)
		})
	})
	t.Run("a superseded password is written again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e, f, storage := rotatedOnce(t)
			defer e.Close()
			write := func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
			if err := write(ConfigPatch{URL: ptr(theirREST)}); err != nil {
				t.Fatal(err)
			}
			if c := storedConfig(t, storage); c.Root.Last.IsZero() {
				t.Error("when the password was rotated is forgotten")
			}
			err := write(ConfigPatch{Password: ptr("right"), VerifyConnection: ptr(false)})
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
			holdsPasswordOfNow(t, f, storage)
		})
	})
	t.Run("superseded password and move in one write", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e, f, _ := rotatedOnce(t)
			defer e.Close()
			write := func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
			_ = write(ConfigPatch{URL: ptr(theirREST), Password: ptr("right")})
			if n := f.refusedLogins(); n != 0 {
				t.Errorf("%d refused logins with a password that is known to be superseded", n)
			}
		})
	})
	t.Run("the pace", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, _ := configured(t, f, func(c *Config) { c.Password = "wrong" })
			defer e.Close()
			for _, to := range []string{theirREST, DefaultURL} {
				for range 10 {
					_, _ = e.IssueKey(t.Context(), 5001, 0)
					time.Sleep(30 * time.Second)
				}
				_ = e.WriteConfig(t.Context(), ConfigPatch{URL: ptr(to), VerifyConnection: ptr(false)}, noManager{})
			}
			if n := f.refusedIn(15 * time.Minute); n > 3 {
				t.Errorf("%d refused logins of one account in 15 minutes", n)
			}
		})
	})
}
