// SPDX-License-Identifier: MPL-2.0

package backend

import (
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
	special = "._+:" // safe in XML and in a shell
)

// generatePassword returns a password that begins with a letter and has all the kinds of
// characters that ECGrid requires.
func generatePassword(random io.Reader) (string, error) {
	for {
		password, err := pick(random, passwordLength, lower+upper+digits+special)
		if err != nil {
			return "", err
		}
		if isAccepted(password) && unicode.IsLetter(rune(password[0])) {
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

// isAccepted checks the vendor's rule: 8 or more characters, with a lower-case and an
// upper-case letter, a digit and something else. XML must be able to carry it.
func isAccepted(password string) bool {
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
