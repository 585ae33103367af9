// SPDX-License-Identifier: MPL-2.0

package consumertest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Must ends the test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until a condition holds, and returns how long that took. The test ends
// if it takes longer than within.
func Eventually(t testing.TB, within time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for ; !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
	return time.Since(began)
}

// CheckLog reports the secrets in a file, without showing them.
func CheckLog(t testing.TB, file string, secrets ...string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	for _, secret := range secrets {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("%s contains a secret of %d bytes", filepath.Base(file), len(secret))
		}
	}
}
