package backend

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"unicode"
	"unicode/utf8"
)

const (
	// passwordLength is well above ECGrid's minimum of 8.
	passwordLength    = 32
	minPasswordLength = 8

	lower   = "abcdefghijklmnopqrstuvwxyz"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	special = "._+:" // nothing that XML or a shell trips over
)

// newPassword makes one that ECGrid accepts, by the policy if there is one.
func (e *Engine) newPassword(ctx context.Context, policy string) (string, error) {
	if policy == "" {
		return generatePassword(e.Random)
	}
	password, err := e.PasswordFromPolicy(ctx, policy)
	if err != nil {
		return "", Invalid("password_policy %q gives no password: check that the policy exists", policy)
	}
	if !meetsECGridsRule(password) {
		return "", Invalid("password_policy %q makes passwords that ECGrid refuses: it has to ask for 8 or more printable characters with a lower-case letter, an upper-case letter, a digit and another one", policy)
	}
	return password, nil
}

// generatePassword begins with a letter and holds one of each kind that ECGrid
// asks for.
func generatePassword(random io.Reader) (string, error) {
	for {
		password, err := pick(random, passwordLength, lower+upper+digits+special)
		if err != nil {
			return "", err
		}
		if meetsECGridsRule(password) && unicode.IsLetter(rune(password[0])) {
			return password, nil
		}
	}
}

func pick(random io.Reader, n int, alphabet string) (string, error) {
	picked := make([]byte, n)
	for i := range picked {
		at, err := rand.Int(random, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("generating a password: %w", err)
		}
		picked[i] = alphabet[at.Int64()]
	}
	return string(picked), nil
}

// meetsECGridsRule is the vendor's rule: 8 or more, with a lower-case and an
// upper-case letter, a digit and something else. What XML cannot carry is out.
func meetsECGridsRule(password string) bool {
	var low, up, digit, other bool
	for _, r := range password {
		switch {
		case !unicode.IsPrint(r):
			return false
		case 'a' <= r && r <= 'z':
			low = true
		case 'A' <= r && r <= 'Z':
			up = true
		case '0' <= r && r <= '9':
			digit = true
		default:
			other = true
		}
	}
	return low && up && digit && other && utf8.ValidString(password) && utf8.RuneCountInString(password) >= minPasswordLength
}
