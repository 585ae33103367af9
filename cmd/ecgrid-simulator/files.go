// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"vault-plugin-ecgrid/internal/simulator"
)

const usersHelp = `
The file of --users is a JSON list of objects:
  user_id       whole number of at least 1, required
  login_name    required
  password      random if omitted
  api_key       random if omitted
  no_api_key    true: the user has no API key
  auth_level    Root, TechOps, NetOps, NetworkAdmin, NetworkUser, MailboxAdmin,
                MailboxUser (the default), TPUser, General
  status        Development, Active (the default), Preproduction, Suspended,
                Terminated
  locked_out    true: logins are refused
  network_id, mailbox_id                       whole numbers
  first_name, last_name, company, email, phone
Example: [{"user_id": 1, "login_name": "admin", "auth_level": "NetworkAdmin"},
          {"user_id": 7001, "login_name": "low"}]
In the ready file, login is the first NetworkAdmin, low_login the first
MailboxUser, and user_id the first other user with an API key.
`

// loadUsers reads the file of --users. nil stands for the default users.
func loadUsers(path string) ([]simulator.User, error) {
	if path == "" {
		return nil, nil
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--users: %w", err)
	}
	users := []simulator.User{}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&users); err != nil {
		return nil, fmt.Errorf("--users: %s is not a JSON list of users (see --help): %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("--users: %s contains more than one JSON list", path)
	}
	if err := simulator.ValidateUsers(users); err != nil {
		return nil, fmt.Errorf("--users: %s: %w", path, err)
	}
	return users, nil
}

// ready is the content of the ready file.
type ready struct {
	SOAP        string `json:"soap"`
	WSDL        string `json:"wsdl"`
	REST        string `json:"rest"`
	Login       string `json:"login"`
	Password    string `json:"password"`
	LowLogin    string `json:"low_login"`
	LowPassword string `json:"low_password"`
	UserID      int32  `json:"user_id"`
}

// writeReady makes the file readable for its owner only, since it contains passwords.
func writeReady(path string, server *simulator.Server) error {
	users := server.Users()
	admin := pick(users, isAdmin)
	low := pick(users, isLow)
	other := pick(users, func(u simulator.User) bool {
		return u.APIKey != "" && u.UserID != admin.UserID && u.UserID != low.UserID
	})
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false) // a shell script reads it without a JSON parser
	err := e.Encode(ready{
		SOAP: server.SOAP, WSDL: server.WSDL, REST: server.REST,
		Login: admin.LoginName, Password: admin.Password,
		LowLogin: low.LoginName, LowPassword: low.Password,
		UserID: other.UserID,
	})
	if err != nil {
		return err
	}
	return writeFile(path, line.Bytes(), 0o600)
}

// pick returns the first user that fits, or an empty one.
func pick(users []simulator.User, fits func(simulator.User) bool) simulator.User {
	i := slices.IndexFunc(users, fits)
	if i < 0 {
		return simulator.User{}
	}
	return users[i]
}

// removeOld removes the files of an earlier run, so that nobody takes them for this one's.
func removeOld(paths ...string) error {
	for _, path := range paths {
		if path == "" {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// writeFile replaces the file atomically.
func writeFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ecgrid-simulator-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // a no-op once renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
