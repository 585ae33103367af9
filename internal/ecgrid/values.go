// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"slices"
	"strings"
	"unicode"
)

// Space is the white space of XML and of JSON.
const Space = " \t\r\n"

// OneWord returns a key or a SessionID without white space around it. It is opaque, but one
// word: other invisible characters could break, or change, the header or file that it is put
// into. U+FFFD takes the place of what is not UTF-8. ok is false if it is not one word.
func OneWord(text string) (word string, ok bool) {
	text = strings.Trim(text, Space)
	if strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r) || r == unicode.ReplacementChar
	}) {
		return "", false
	}
	return text, true
}

// enums are the values of AuthLevel and Status (WSDL). A list repeats them for every
// user, so all users share one copy.
var enums = [...]string{
	"NoChange", "Root", "TechOps", "NetOps", "NetworkAdmin", "NetworkUser", "MailboxAdmin", "MailboxUser",
	"TPUser", "General", "Development", "Active", "Preproduction", "Suspended", "Terminated",
}

// EnumValue returns the shared copy of a known value. It accepts others: ECGrid may add
// some.
func EnumValue(text string) string {
	text = strings.Trim(text, Space)
	if i := slices.Index(enums[:], text); i >= 0 {
		return enums[i]
	}
	return text
}

const (
	// MaxListMemory bounds the memory of a list, in bytes: more than 100000 users.
	MaxListMemory = 32 << 20
	// userSize is about the size of one User without its texts, in bytes.
	userSize = 80
	// usersPerChunk is how many users are held together until the list is complete. One
	// slice would take twice the memory each time it grows.
	usersPerChunk = 256
)

// Users collects the users of a list.
type Users struct {
	// Limit bounds the memory that they take, in bytes.
	Limit int

	memory int
	full   [][]User
	chunk  []User
}

// Add adds a user. It returns false if the list gets too large.
func (l *Users) Add(u User) bool {
	l.memory += userSize + len(u.LoginName) + len(u.AuthLevel) + len(u.Status)
	if l.memory > l.Limit {
		return false
	}
	if len(l.chunk) == usersPerChunk {
		l.full, l.chunk = append(l.full, l.chunk), make([]User, 0, usersPerChunk)
	}
	l.chunk = append(l.chunk, u)
	return true
}

// All returns the users in one slice.
func (l *Users) All() []User { return slices.Concat(append(l.full, l.chunk)...) }
