package backend

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"unicode"
)

func TestPasswordPolicy(t *testing.T) {
	t.Parallel()
	for password, good := range map[string]bool{
		"Str0ng.password": true, "aB3 efgh": true, "äB3defgh": true,
		"": false, "aB3.efg": false, "ab3.efgh": false, "AB3.EFGH": false, "aBc.efgh": false, "aB3defgh": false,
		"aB3.efg\n": false, "aB3.efgh\x00": false, "aB3.efgh\t": false, "aB3.efgh\xff": false, "aB3.efgh\u200b": false, "aB3.efgh\ufffe": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.policy = password
			e, storage := configured(t, f, func(c *Config) { c.PasswordPolicy = "p" })
			_, err := e.RotateRoot(t.Context())
			if good != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", password, err)
			}
			if want := map[bool]string{true: password, false: "right"}[good]; f.password != want {
				t.Errorf("%q was set for %q", f.password, password)
			}
			if !good && f.count("Login") != 0 {
				t.Errorf("%q: ECGrid was called", password)
			}
			settled(t, f, e, storage)
			e.Close()
		})
	}
	t.Run("no such policy", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, _ := configured(t, f, func(c *Config) { c.PasswordPolicy = "p" })
			e.PasswordFromPolicy = func(context.Context, string) (string, error) { return "", errAny }
			if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrInvalid) || f.count("Login") != 0 {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestGeneratePassword(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	var used strings.Builder
	for range 2000 {
		password, err := generatePassword(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if seen[password] {
			t.Fatal("twice the same")
		}
		seen[password] = true
		used.WriteString(password)
		unsafe := strings.ContainsFunc(password, func(r rune) bool {
			return r > unicode.MaxASCII || strings.ContainsRune("<>&\"'`$\\!*?[](){}|;#~%^= /\t\n@,-", r)
		})
		first := rune(password[0])
		if len(password) < 24 || !isAccepted(password) || unsafe || !unicode.IsLetter(first) {
			t.Fatalf("%q", password)
		}
	}
	for _, r := range lower + upper + digits + special {
		if !strings.ContainsRune(used.String(), r) {
			t.Errorf("%q was never used", r)
		}
	}
	if _, err := generatePassword(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without randomness: %v", err)
	}
}
