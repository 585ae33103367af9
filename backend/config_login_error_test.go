// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// A read of the config says that ECGrid refuses the stored login, and calls nobody.
func TestConfigTellsOfRefusedLogin(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		wantTold := func(e *Engine, want string) {
			t.Helper()
			before := f.now().calls
			if got := storedConfig(t, e).LastLoginError; want == "" && got != "" || !strings.Contains(got, want) {
				t.Errorf("last_login_error is %q, want %q", got, want)
			}
			if !maps.Equal(f.now().calls, before) {
				t.Error("a read of the config called ECGrid")
			}
		}
		wantTold(e, "")
		readKey(t, e, 5001)
		err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("mistyped")}, noManager{})
		wantErr(t, err, session.ErrRefused)
		wantTold(e, "") // the stored login works

		e.Close()
		e = testEngine(t, f, storage)
		f.failWith("Login", ecgrid.ErrTimeout)
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), ecgrid.ErrTimeout)
		wantTold(e, "") // ECGrid said nothing
		f.failWith("Login", ecgrid.ErrAccessDenied)
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), session.ErrRefused)
		wantTold(e, "snapshot")
		f.failWith("Login", nil)
		time.Sleep(time.Minute)
		readKey(t, e, 5001)
		wantTold(e, "") // it works again

		f.set(func() { f.password = "set by an administrator" })
		e.Close()
		e = testEngine(t, f, storage)
		_, err = e.IssueKey(t.Context(), 5001, 0)
		wantErr(t, err, session.ErrRefused)
		if _, message, _ := Describe(err); !strings.Contains(message, "snapshot") {
			t.Errorf("%q does not name a restored snapshot as a cause", message)
		}
		wantTold(e, "snapshot")
		e.Close()
		e = testEngine(t, f, storage)
		wantTold(e, "; 2 logins failed (2 refused) within 15 minutes: ")
		time.Sleep(time.Minute)
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), session.ErrRefused)
		wantTold(e, "; 3 logins failed (3 refused) within 15 minutes: ")

		writeConfig(t, e, ConfigPatch{Password: ptr("not verified"), VerifyConnection: ptr(false)})
		wantTold(e, "") // it was not tried
		writeConfig(t, e, ConfigPatch{Password: ptr("set by an administrator")})
		wantTold(e, "")
	})
}

// The pause and last_login_error count alike: also a refusal before the login last worked, and
// a Login without an answer, in the next process too.
func TestPauseAndConfigCountAlike(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		f.failWith(opLogin, ecgrid.ErrAccessDenied)
		failedRead(t, e, 5001)
		f.failWith(opLogin, nil)
		time.Sleep(2 * time.Second)
		readKey(t, e, 5001)
		f.set(func() { clear(f.sessions) })
		f.failWith(opLogin, ecgrid.ErrTimeout)
		failedRead(t, e, 5001)
		f.failWith(opLogin, ecgrid.ErrAccessDenied)
		failedRead(t, e, 5001)
		_, err := e.IssueKey(t.Context(), 5001, 0)
		wantErr(t, err, session.ErrPaused)
		const counted = ": 3 logins failed (2 refused, 1 without an answer or a working session) within 15 minutes"
		if _, message, _ := Describe(err); !strings.Contains(message, counted) {
			t.Errorf("the pause says %q", message)
		}
		wantCounted := func(e *Engine) {
			t.Helper()
			if got := storedConfig(t, e).LastLoginError; !strings.Contains(got, strings.TrimPrefix(counted, ":")) {
				t.Errorf("last_login_error is %q", got)
			}
		}
		wantCounted(e)
		e.Close()
		wantCounted(testEngine(t, f, storage))
	})
}

// A login that cannot be told of fails no read of the config.
func TestConfigReadWithoutLedger(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, _, storage := configured(t)
		e, _ := startProcess(t, f, storage, func(s step) error {
			if s.key == attemptsKey {
				return errors.New("storage fails")
			}
			return nil
		})
		if c := storedConfig(t, e); c.LastLoginError != "" {
			t.Errorf("last_login_error is %q", c.LastLoginError)
		}
	})
}

// The last refusal of the stored login is told until that works, however old it is, and also if
// other failed Logins are stored since. It does not lengthen a pause.
func TestLoginErrorOutlivesItsPause(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		refuse func(t *testing.T, e *Engine, stored string)
		after  time.Duration
	}{
		"a read":                         {func(t *testing.T, e *Engine, _ string) { failedRead(t, e, 5001) }, 25 * time.Hour},
		"a write of the stored password": {writeRefused, 16 * time.Minute},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t)
			stored := storedConfig(t, e).Password
			f.set(func() { f.password = "other" })
			tt.refuse(t, e, stored)
			told, _, _ := strings.Cut(storedConfig(t, e).LastLoginError, ";")
			for _, password := range []string{"mistyped", "mistyped again"} {
				time.Sleep(tt.after)
				writeRefused(t, e, password)
				if got := storedConfig(t, e).LastLoginError; told == "" || !strings.HasPrefix(got, told) {
					t.Errorf("last_login_error is %q, want %q", got, told)
				}
			}
			e.Close()
			e = testEngine(t, f, storage)
			if got := storedConfig(t, e).LastLoginError; !strings.HasPrefix(got, told) {
				t.Errorf("last_login_error of the next process is %q, want %q", got, told)
			}
			failedRead(t, e, 5001)
			wantSamples(t, e, map[string]float64{"login_pause_seconds": 1})
			f.set(func() { f.password = stored })
			time.Sleep(time.Second)
			readKey(t, e, 5001)
			if got := storedConfig(t, e).LastLoginError; got != "" {
				t.Errorf("last_login_error is %q although the login works", got)
			}
		})
	}
}

func writeRefused(t *testing.T, e *Engine, password string) {
	t.Helper()
	wantErr(t, e.WriteConfig(t.Context(), ConfigPatch{Password: &password}, noManager{}), session.ErrRefused)
}
