// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/salt"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/backend/session"
)

// The storage paths. No other file knows them.
const (
	configKey     = "config"
	rolePrefix    = "roles/"
	holderPrefix  = "lease/"   // + user ID, fingerprint of the key, lease ID: one list returns the holders of a key
	replacePrefix = "replace/" // + user ID: a replacement of the user's key was sent
	sessionPrefix = "session/" // + random name: an open session, or a Login in progress
	attemptsKey   = "logins"   // Logins that led to no working session
	hmacPrefix    = "hmac-sha256:"
)

// SealWrapped are the storage paths that contain a password, a session's credential or the key of
// the fingerprints.
var SealWrapped = []string{configKey, salt.DefaultLocation, sessionPrefix}

// store is the only access to Vault's storage. It keeps the agenda up to date.
type store struct {
	raw    logical.Storage
	agenda *agenda

	salting *semaphore.Weighted // held while the salt is read or created
	salt    atomic.Pointer[salt.Salt]
}

func newStore(raw logical.Storage, a *agenda) *store {
	return &store{raw: raw, agenda: a, salting: semaphore.NewWeighted(1)}
}

// get returns the value stored at key, or nil. What names it in errors.
func get[T any](ctx context.Context, s *store, key, what string) (*T, error) {
	entry, err := s.raw.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s from storage: %w", what, err)
	}
	if entry == nil {
		return nil, nil
	}
	v := new(T)
	if err := entry.DecodeJSON(v); err != nil {
		return nil, fmt.Errorf("decoding %s from storage: %w", what, err)
	}
	return v, nil
}

// getAll returns the values stored below a prefix, by name.
func getAll[T any](ctx context.Context, s *store, prefix, whatAll, what string) (map[string]T, error) {
	names, err := s.list(ctx, prefix, whatAll)
	if err != nil {
		return nil, err
	}
	all := map[string]T{}
	for _, name := range names {
		v, err := get[T](ctx, s, prefix+name, what)
		if err != nil {
			return nil, err
		}
		if v != nil {
			all[name] = *v
		}
	}
	return all, nil
}

func (s *store) put(ctx context.Context, key, what string, v any) error {
	entry, err := logical.StorageEntryJSON(key, v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", what, err)
	}
	if err := s.raw.Put(ctx, entry); err != nil {
		return fmt.Errorf("storing %s: %w", what, err)
	}
	return nil
}

func (s *store) delete(ctx context.Context, key, what string) error {
	if err := s.raw.Delete(ctx, key); err != nil {
		return fmt.Errorf("deleting %s from storage: %w", what, err)
	}
	return nil
}

func (s *store) list(ctx context.Context, prefix, what string) ([]string, error) {
	names, err := s.raw.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s in storage: %w", what, err)
	}
	slices.Sort(names)
	return names, nil
}

// config returns the stored config, or nil.
func (s *store) config(ctx context.Context) (*Config, error) {
	return get[Config](ctx, s, configKey, "the config")
}

func (s *store) putConfig(ctx context.Context, c Config) error {
	return s.put(ctx, configKey, "the config", c)
}

func (s *store) deleteConfig(ctx context.Context) error {
	return s.delete(ctx, configKey, "the config")
}

// role returns the stored role, or nil.
func (s *store) role(ctx context.Context, name string) (*Role, error) {
	return get[Role](ctx, s, rolePrefix+name, fmt.Sprintf("role %q", name))
}

func (s *store) putRole(ctx context.Context, name string, r Role) error {
	err := s.put(ctx, rolePrefix+name, fmt.Sprintf("role %q", name), r)
	if err = s.agenda.roles.written(name, r.Rotation.wakeTime(r.Schedule), err); err == nil {
		s.agenda.rotations.written(name, &r)
	}
	return err
}

func (s *store) deleteRole(ctx context.Context, name string) error {
	err := s.delete(ctx, rolePrefix+name, fmt.Sprintf("role %q", name))
	if err = s.agenda.roles.written(name, time.Time{}, err); err == nil {
		s.agenda.rotations.written(name, nil)
	}
	return err
}

func (s *store) roleNames(ctx context.Context) ([]string, error) {
	return s.list(ctx, rolePrefix, "the roles")
}

// roleWakeTime returns when the role has to be looked at; the zero time means never.
func (s *store) roleWakeTime(ctx context.Context, name string) (time.Time, error) {
	r, err := s.role(ctx, name)
	if err != nil {
		return time.Time{}, err
	}
	s.agenda.rotations.read(name, r)
	if r == nil {
		return time.Time{}, nil
	}
	return r.Rotation.wakeTime(r.Schedule), nil
}

// holderPath returns the path of the record of a counted lease, below holderPrefix.
func holderPath(l Lease) string { return holdersPath(l) + l.ID }

func holdersPath(l Lease) string {
	return fmt.Sprintf("%d/%s/", l.UserID, strings.TrimPrefix(l.Fingerprint, hmacPrefix))
}

// holder returns the record of a counted lease, or nil.
func (s *store) holder(ctx context.Context, path string) (*holder, error) {
	return get[holder](ctx, s, holderPrefix+path, "a lease")
}

func (s *store) putHolder(ctx context.Context, h holder) error {
	path := holderPath(h.Lease)
	err := s.put(ctx, holderPrefix+path, "a lease", h)
	return s.agenda.holders.written(path, h.Until, err)
}

func (s *store) deleteHolder(ctx context.Context, l Lease) error {
	path := holderPath(l)
	err := s.delete(ctx, holderPrefix+path, "a lease")
	return s.agenda.holders.written(path, time.Time{}, err)
}

// holderExpiry returns when a counted lease stops counting; the zero time means never.
func (s *store) holderExpiry(ctx context.Context, path string) (time.Time, error) {
	h, err := s.holder(ctx, path)
	if err != nil || h == nil {
		return time.Time{}, err
	}
	return h.Until, nil
}

// holderIDs returns the IDs of the counted leases of the same key.
func (s *store) holderIDs(ctx context.Context, l Lease) ([]string, error) {
	return s.list(ctx, holderPrefix+holdersPath(l), "the leases of a key")
}

// holderPaths returns the paths of all counted leases.
func (s *store) holderPaths(ctx context.Context) ([]string, error) {
	var paths []string
	err := logical.ScanView(ctx, logical.NewStorageView(s.raw, holderPrefix), func(path string) { paths = append(paths, path) })
	if err != nil {
		return nil, fmt.Errorf("listing the leases in storage: %w", err)
	}
	return paths, nil
}

// replacement is a note that a user's key is about to be replaced.
type replacement struct {
	At time.Time `json:"at"`
}

func (s *store) putReplacement(ctx context.Context, userID int32, at time.Time) error {
	return s.put(ctx, replacePrefix+strconv.Itoa(int(userID)), "a replacement", replacement{at})
}

func (s *store) deleteReplacement(ctx context.Context, userID int32) error {
	return s.delete(ctx, replacePrefix+strconv.Itoa(int(userID)), "a replacement")
}

// replacements returns when the unconfirmed replacements were sent, by user ID.
func (s *store) replacements(ctx context.Context) (map[int32]time.Time, error) {
	stored, err := getAll[replacement](ctx, s, replacePrefix, "the replacements", "a replacement")
	if err != nil {
		return nil, err
	}
	found := map[int32]time.Time{}
	for name, r := range stored {
		if id, err := ParseUserID(name); err == nil {
			found[id] = r.At
		}
	}
	return found, nil
}

// Attempts implements session.Store, as do the next four.
func (s *store) Attempts(ctx context.Context) ([]session.Attempt, error) {
	stored, err := get[[]session.Attempt](ctx, s, attemptsKey, "the refused logins")
	if err != nil || stored == nil {
		return nil, err
	}
	return *stored, nil
}

// StoredCredentials returns the login of the stored config and the fingerprints of the passwords
// that it may have.
func (s *store) StoredCredentials(ctx context.Context) (login string, marks []string, err error) {
	config, err := s.config(ctx)
	if err != nil || config == nil {
		return "", nil, err
	}
	candidates, err := s.candidates(ctx, *config)
	for _, c := range candidates {
		marks = append(marks, c.Mark)
	}
	return config.login(), marks, err
}

// candidates are the passwords that the login may have, the likeliest first.
func (s *store) candidates(ctx context.Context, config Config) ([]session.Candidate, error) {
	if config.APIKey != "" {
		return nil, nil
	}
	var candidates []session.Candidate
	for _, password := range append([]string{config.Password}, config.pendingPasswords()...) {
		mark, err := s.fingerprint(ctx, password)
		if err != nil {
			return nil, err
		}
		candidates = append(candidates, session.Candidate{Password: password, Mark: mark})
	}
	return candidates, nil
}

// PutAttempts stores the attempts. Without any it deletes the entry.
func (s *store) PutAttempts(ctx context.Context, attempts []session.Attempt) error {
	if len(attempts) == 0 {
		return s.delete(ctx, attemptsKey, "the refused logins")
	}
	return s.put(ctx, attemptsKey, "the refused logins", attempts)
}

// Notes returns the notes of all sessions, by name.
func (s *store) Notes(ctx context.Context) (map[string]session.Note, error) {
	return getAll[session.Note](ctx, s, sessionPrefix, "the noted sessions", "a noted session")
}

// PutNote stores the note of a session.
func (s *store) PutNote(ctx context.Context, name string, n session.Note) error {
	return s.put(ctx, sessionPrefix+name, "a noted session", n)
}

// DeleteNote deletes the note of a session.
func (s *store) DeleteNote(ctx context.Context, name string) error {
	return s.delete(ctx, sessionPrefix+name, "a noted session")
}

// fingerprint returns a keyed hash of a key or a password.
func (s *store) fingerprint(ctx context.Context, secret string) (string, error) {
	salted, err := s.mountSalt(ctx)
	if err != nil {
		return "", err
	}
	return salted.GetIdentifiedHMAC(secret), nil
}

// isFingerprintOf compares in constant time.
func isFingerprintOf(fingerprint, other string) bool {
	return hmac.Equal([]byte(fingerprint), []byte(other))
}

// mountSalt returns the salt of the mount, which is created once and stored.
func (s *store) mountSalt(ctx context.Context) (*salt.Salt, error) {
	if known := s.salt.Load(); known != nil {
		return known, nil
	}
	if err := s.salting.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer s.salting.Release(1)
	if known := s.salt.Load(); known != nil {
		return known, nil
	}
	created, err := salt.NewSalt(ctx, s.raw, &salt.Config{HMAC: sha256.New, HMACType: strings.TrimSuffix(hmacPrefix, ":")})
	if err != nil {
		return nil, fmt.Errorf("reading the mount's salt: %w", err)
	}
	s.salt.Store(created)
	return created, nil
}

// invalidate forgets what was read from a path that another node has changed. It reports
// whether that was the config.
func (s *store) invalidate(key string) (config bool) {
	switch {
	case key == salt.DefaultLocation:
		s.salt.Store(nil)
	case strings.HasPrefix(key, rolePrefix):
		s.agenda.roles.reload(strings.TrimPrefix(key, rolePrefix))
	case strings.HasPrefix(key, holderPrefix):
		s.agenda.holders.reload(strings.TrimPrefix(key, holderPrefix))
	}
	return key == configKey
}
