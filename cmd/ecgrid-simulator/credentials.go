// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"vault-plugin-ecgrid/internal/simulator"
)

// password is a password that a flag sets: its value, or the file that has it.
type password struct{ value, file string }

func (p password) isGivenTwice() bool { return p.value != "" && p.file != "" }

// read returns "" if the password is not given.
func (p password) read(flag string) (string, error) {
	if p.file == "" {
		return p.value, nil
	}
	raw, err := os.ReadFile(p.file)
	if err != nil {
		return "", fmt.Errorf("%s-file: %w", flag, err)
	}
	value := strings.TrimRight(string(raw), "\r\n")
	if value == "" {
		return "", fmt.Errorf("%s-file: %s is empty", flag, p.file)
	}
	return value, nil
}

func isAdmin(u simulator.User) bool { return u.AuthLevel == "NetworkAdmin" }

// isLow also knows the level of a user whose file does not state it.
func isLow(u simulator.User) bool { return u.AuthLevel == "MailboxUser" || u.AuthLevel == "" }

// users returns the users with the passwords that flags set.
func (c settings) users() ([]simulator.User, error) {
	users, err := loadUsers(c.usersFile)
	if err != nil {
		return nil, err
	}
	if users == nil {
		users = simulator.DefaultUsers()
	}
	// The first is the one with the lowest UserID, as in the ready file.
	slices.SortFunc(users, func(a, b simulator.User) int { return cmp.Compare(a.UserID, b.UserID) })
	for _, one := range []struct {
		flag string
		password
		level string
		fits  func(simulator.User) bool
	}{
		{"--admin-password", c.admin, "NetworkAdmin", isAdmin},
		{"--low-password", c.low, "MailboxUser", isLow},
	} {
		value, err := one.read(one.flag)
		if err != nil {
			return nil, err
		}
		if value == "" {
			continue
		}
		i := slices.IndexFunc(users, one.fits)
		if i < 0 {
			return nil, fmt.Errorf("%s: there is no %s", one.flag, one.level)
		}
		users[i].Password = value
	}
	return users, nil
}

func printCredentials(out io.Writer, users []simulator.User) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LoginName\tUserID\tAuthLevel\tPassword\tAPI key")
	for _, u := range users {
		key := u.APIKey
		if key == "" {
			key = "-"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", u.LoginName, u.UserID, u.AuthLevel, u.Password, key)
	}
	return w.Flush()
}
