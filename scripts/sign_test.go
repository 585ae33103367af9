// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// signing is a keyring with two keys of one address, and a third one.
type signing struct {
	home                string
	first, other, third string // fingerprints
}

const bothHave = "both@example.com"

func newSigning(t *testing.T) signing {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("there is no gpg")
	}
	home, err := os.MkdirTemp("", "gpg") // the path of the agent's socket must be short
	if err != nil {
		t.Fatal(err)
	}
	s := signing{home: home}
	t.Cleanup(func() {
		_ = s.command("gpgconf", "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	s.first, s.other, s.third = s.newKey(t, "First <"+bothHave+">"), s.newKey(t, "Other <"+bothHave+">"), s.newKey(t, "Third <third@example.com>")
	return s
}

func (s signing) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+s.home)
	return cmd
}

// newKey returns the fingerprint.
func (s signing) newKey(t *testing.T, user string) string {
	t.Helper()
	out, err := s.command("gpg", "--batch", "--status-fd", "1", "--passphrase", "", "--quick-generate-key", user, "ed25519", "sign", "1d").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(out), "KEY_CREATED P ")
	return strings.Fields(after)[0]
}

// newDist is a repository with sign.sh and a small release in dist/.
func newDist(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"sign.sh", "sha256.sh"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		program(t, filepath.Join(root, "scripts", name), string(text))
	}
	sums := ""
	for _, name := range []string{"SHA256SUMS.binaries", "a program_v0.1.0.tar.gz", "oci/index.json"} {
		program(t, filepath.Join(root, "dist", name), name)
		sums += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(name)), name)
	}
	blob := fmt.Sprintf("%x", sha256.Sum256([]byte("a blob")))
	program(t, filepath.Join(root, "dist/oci/blobs/sha256", blob), "a blob")
	program(t, filepath.Join(root, "dist/oci/oci-layout"), "{}")
	program(t, filepath.Join(root, "dist/SHA256SUMS"), sums)
	return root
}

// TestSign signs a release with one key, and refuses one that its sums do not describe.
func TestSign(t *testing.T) {
	t.Parallel()
	s := newSigning(t)
	const blobs = "oci/blobs/sha256/"
	for _, c := range []struct {
		name    string
		file    string // below dist, to be written before
		content string
		removes bool // file is removed instead
		key     string
		says    []string // and nothing is signed; nil: it is signed
	}{
		{name: "as it was built", key: s.first},
		{name: "an address", key: "third@example.com"},
		{name: "signed before", file: "SHA256SUMS.sig", content: "old", key: s.other},
		{name: "an address of two keys", key: bothHave, says: []string{s.first, s.other, "several keys fit"}},
		{name: "no such key", key: "none@example.com", says: []string{"no secret key"}},
		{name: "a changed file", file: "a program_v0.1.0.tar.gz", content: "x", key: s.first, says: []string{"a program_v0.1.0.tar.gz has another SHA-256"}},
		{name: "another file", file: "more.tar.gz", key: s.first, says: []string{"more.tar.gz\n", "not both"}},
		{name: "another file in a layout", file: "oci/more", key: s.first, says: []string{"oci/more\n", "not both"}},
		{name: "a blob with a name that is not its sum", file: blobs + strings.Repeat("a", 64), key: s.first, says: []string{"has another SHA-256"}},
		{name: "a missing file", file: "a program_v0.1.0.tar.gz", removes: true, key: s.first, says: []string{"a program_v0.1.0.tar.gz\n", "not both"}},
		{name: "an empty list", file: "SHA256SUMS", key: s.first, says: []string{"is empty"}},
		{name: "no list", file: "SHA256SUMS", removes: true, key: s.first, says: []string{"there is no dist/SHA256SUMS"}},
		{name: "a malformed list", file: "SHA256SUMS", content: "abc  more.tar.gz\n", key: s.first, says: []string{"is malformed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := newDist(t)
			file := filepath.Join(root, "dist", c.file)
			switch {
			case c.removes:
				_ = os.Remove(file)
			case c.file != "":
				program(t, file, c.content)
			}
			out, err := s.command("sh", filepath.Join(root, "scripts", "sign.sh"), c.key).CombinedOutput()
			signature, sums := filepath.Join(root, "dist", "SHA256SUMS.sig"), filepath.Join(root, "dist", "SHA256SUMS")
			if c.says == nil {
				want := map[string]string{"third@example.com": s.third}[c.key]
				if want == "" {
					want = c.key
				}
				verified, bad := s.command("gpg", "--batch", "--status-fd", "1", "--verify", signature, sums).Output()
				if err != nil || bad != nil || !strings.Contains(string(out), "is by the key "+want) || !strings.Contains(string(verified), "VALIDSIG "+want) {
					t.Errorf("%v, %v\n%s%s", err, bad, out, verified)
				}
				return
			}
			for _, say := range c.says {
				if err == nil || !strings.Contains(string(out), say) {
					t.Errorf("%v, want %q in\n%s", err, say, out)
				}
			}
			if _, err := os.Stat(signature); err == nil {
				t.Error("there is a signature")
			}
		})
	}
}
