// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"unicode"
)

// A password policy must generate passwords that ECGrid accepts.
func TestPasswordPolicy(t *testing.T) {
	t.Parallel()
	for password, accepted := range map[string]bool{
		"Str0ng.password": true, "aB3 efgh": true, "äB3defgh": true,
		"": false, "aB3.efg": false, "ab3.efgh": false, "AB3.EFGH": false, "aBc.efgh": false, "aB3defgh": false,
		"aB3.efg\n": false, "aB3.efgh\x00": false, "aB3.efgh\t": false, "aB3.efgh\xff": false, "aB3.efgh\u200b": false, "aB3.efgh\ufffe": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			f, e, _ := configured(t, func(c *Config) { c.PasswordPolicy = "p" })
			f.policy = password
			err := errOf(e.RotateRoot(t.Context()))
			want := password
			if accepted {
				check(t, err)
			} else {
				want = "right"
				wantErr(t, err, ErrInvalid)
				checkCalls(t, f, "Login", 0)
			}
			if got := f.now().password; got != want {
				t.Errorf("with policy password %q, ECGrid has %q, want %q", password, got, want)
			}
			checkHealthy(t, f, e)
		})
	}
	runCase(t, "no such policy", func(t *testing.T) {
		f, e, _ := configured(t, func(c *Config) { c.PasswordPolicy = "p" })
		e.PasswordFromPolicy = func(context.Context, string) (string, error) { return "", errAny }
		wantErr(t, errOf(e.RotateRoot(t.Context())), ErrInvalid)
		checkCalls(t, f, "Login", 0)
	})
}

// Generated passwords are accepted by ECGrid, safe in XML and shells, and all different.
func TestGeneratePassword(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	var used strings.Builder
	for range 2000 {
		password, err := generatePassword(rand.Reader)
		check(t, err)
		if seen[password] {
			t.Fatal("the same password was generated twice")
		}
		seen[password] = true
		used.WriteString(password)
		unsafe := strings.ContainsFunc(password, func(r rune) bool {
			return r > unicode.MaxASCII || strings.ContainsRune("<>&\"'`$\\!*?[](){}|;#~%^= /\t\n@,-", r)
		})
		first := rune(password[0])
		if len(password) < 24 || !isAccepted(password) || unsafe || !unicode.IsLetter(first) {
			t.Fatalf("the password %q is too short, not accepted or not safe", password)
		}
	}
	for _, r := range lower + upper + digits + special {
		if !strings.ContainsRune(used.String(), r) {
			t.Errorf("%q was never used", r)
		}
	}
	wantErr(t, errOf(generatePassword(iotest.ErrReader(io.ErrUnexpectedEOF))), io.ErrUnexpectedEOF)
}
