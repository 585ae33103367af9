// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// signer is a keyring with a key that only this run has.
type signer struct{ home, fingerprint string }

// newSigner returns nil if a program of docs/release.md is not installed.
func newSigner() (*signer, error) {
	for _, name := range []string{"gpg", "shasum"} {
		if _, err := exec.LookPath(name); err != nil {
			fmt.Fprintln(os.Stderr, "acceptance: signatures of releases: not run: no", name)
			return nil, nil
		}
	}
	s := &signer{home: filepath.Join(suite.dir, "gpg")}
	if err := os.Mkdir(s.home, 0o700); err != nil {
		return nil, err
	}
	if _, err := s.gpg("--passphrase", "", "--quick-generate-key", "Throw-away <release@example.com>", "rsa3072", "sign", "1d"); err != nil {
		return nil, err
	}
	out, err := s.gpg("--with-colons", "--list-secret-keys")
	if err != nil {
		return nil, err
	}
	_, after, _ := strings.Cut(out, "\nfpr:")
	s.fingerprint = strings.Trim(strings.SplitN(after, "\n", 2)[0], ":")
	return s, nil
}

func (s *signer) env() []string { return []string{"GNUPGHOME=" + s.home} }

func (s *signer) gpg(args ...string) (string, error) {
	return command(s.home, s.env(), "gpg", append([]string{"--batch", "--quiet"}, args...)...)
}

// stop ends the agent of gpg, which is not needed to read the public key.
func (s *signer) stop() {
	_, _ = command(s.home, s.env(), "gpgconf", "--kill", "all")
}

// publicKey writes the key for those who verify.
func (s *signer) publicKey(t *testing.T, dir string) string {
	t.Helper()
	key, err := s.gpg("--armor", "--export", s.fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, dir, "vault-plugin-ecgrid.asc", key)
}

// TestReleaseSignature verifies the sums with a keyring that has only the public key.
// TestReleaseUpgrade does so with the commands of docs/release.md.
func TestReleaseSignature(t *testing.T) {
	r := needReleases(t)
	if r.signer == nil {
		t.Skip("gpg or shasum is not installed")
	}
	reader := &signer{home: t.TempDir()}
	if err := os.Chmod(reader.home, 0o700); err != nil {
		t.Fatal(err)
	}
	sums, signature := filepath.Join(r.next.dist, "SHA256SUMS"), filepath.Join(r.next.dist, "SHA256SUMS.sig")
	if out, err := reader.gpg("--verify", signature, sums); err == nil {
		t.Errorf("verified without the key: %s", out)
	}
	if _, err := reader.gpg("--import", r.signer.publicKey(t, t.TempDir())); err != nil {
		t.Fatal(err)
	}
	if out, err := reader.gpg("--verify", signature, sums); err != nil || !strings.Contains(out, "Good signature") {
		t.Errorf("%v\n%s", err, out)
	}
	changed := strings.Replace(string(readAll(sums)), "linux", "linuX", 1)
	if out, err := reader.gpg("--verify", signature, writeFile(t, t.TempDir(), "SHA256SUMS", changed)); err == nil {
		t.Errorf("other sums are verified: %s", out)
	}
	if _, err := os.Stat(filepath.Join(r.first.dist, "SHA256SUMS.sig")); err == nil {
		t.Error("a release without SIGN_KEY is signed")
	}
}
