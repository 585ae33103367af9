// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The config is not deleted until the last password expires that ECGrid may still apply. The
// message says when. It can be written meanwhile, which does not shorten that.
func TestDeleteWithKeptPassword(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := unresolved(t, false)
		wantErr(t, e.DeleteConfig(t.Context(), noManager{}), ErrUnresolved)
		time.Sleep(time.Hour)
		f.set(func() { clear(f.fail); f.password = "third" })
		writeConfig(t, e, ConfigPatch{Password: ptr("third")})
		wantKept := func(until time.Time) {
			t.Helper()
			err := e.DeleteConfig(t.Context(), noManager{})
			wantErr(t, err, ErrPasswordKept)
			wantStatus(t, err, http.StatusConflict)
			_, message, _ := Describe(err)
			if at := "until " + until.UTC().Format(time.RFC3339) + " "; !strings.Contains(message, at) || strings.Contains(message, "not resolved") {
				t.Errorf("want %q in %q", at, message)
			}
		}
		until := storedConfig(t, e).Pending[0].KeepUntil.Truncate(time.Second).Add(time.Second)
		if left := time.Until(until); left < 24*time.Hour-time.Minute || left > 24*time.Hour+time.Second {
			t.Errorf("the password is kept for %s", left)
		}
		wantKept(until)
		f.set(func() { f.password = "fourth" })
		writeConfig(t, e, ConfigPatch{Password: ptr("fourth")})
		readKey(t, e, 5001)
		wantKept(until)
		time.Sleep(time.Until(until) - 2*time.Second)
		wantKept(until)
		time.Sleep(2 * time.Second)
		check(t, e.DeleteConfig(t.Context(), noManager{}))
	})
}
