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

// Where things are stored. No other file knows it.
const (
	configKey     = "config"
	rolePrefix    = "roles/"
	leasePrefix   = "lease/"   // then user, fingerprint of the key, lease ID: who holds a key is one listing
	replacePrefix = "replace/" // then user: a replacement of its key was sent
	sessionPrefix = "session/" // then a random name: an open session, or a Login under way
	attemptsKey   = "logins"   // Logins that led to no working session
	hmacPrefix    = "hmac-sha256:"
)

// SealWrapped are the storage paths that hold a password, a SessionID or what
// guards fingerprints.
var SealWrapped = []string{configKey, salt.DefaultLocation, sessionPrefix}

// store is the one way to Vault's storage. What it writes of roles and leases it
// also tells the agenda.
type store struct {
	raw    logical.Storage
	agenda *agenda

	salting *semaphore.Weighted // held while the salt is read or made
	salt    atomic.Pointer[salt.Salt]
}

func newStore(raw logical.Storage, a *agenda) *store {
	return &store{raw: raw, agenda: a, salting: semaphore.NewWeighted(1)}
}

// get gives what is stored there, or nil. What is for people and holds no secret.
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

// getAll gives what is stored below a prefix, by name.
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

// config gives the stored config, or nil.
func (s *store) config(ctx context.Context) (*Config, error) {
	return get[Config](ctx, s, configKey, "the config")
}

func (s *store) putConfig(ctx context.Context, c Config) error {
	return s.put(ctx, configKey, "the config", c)
}

func (s *store) deleteConfig(ctx context.Context) error {
	return s.delete(ctx, configKey, "the config")
}

// role gives the stored role, or nil.
func (s *store) role(ctx context.Context, name string) (*Role, error) {
	return get[Role](ctx, s, rolePrefix+name, fmt.Sprintf("role %q", name))
}

func (s *store) putRole(ctx context.Context, name string, r Role) error {
	if err := s.put(ctx, rolePrefix+name, fmt.Sprintf("role %q", name), r); err != nil {
		s.agenda.roles.unread(name) // it may be written all the same
		return err
	}
	s.agenda.roles.set(name, r.Rotation.wakes(r.Schedule))
	return nil
}

func (s *store) deleteRole(ctx context.Context, name string) error {
	if err := s.delete(ctx, rolePrefix+name, fmt.Sprintf("role %q", name)); err != nil {
		s.agenda.roles.unread(name)
		return err
	}
	s.agenda.roles.set(name, time.Time{})
	return nil
}

func (s *store) roleNames(ctx context.Context) ([]string, error) {
	return s.list(ctx, rolePrefix, "the roles")
}

// leasePath names the record of a counted lease, below leasePrefix.
func leasePath(l Lease) string { return holdersPath(l) + l.ID }

func holdersPath(l Lease) string {
	return fmt.Sprintf("%d/%s/", l.UserID, strings.TrimPrefix(l.Fingerprint, hmacPrefix))
}

// count gives the record of a counted lease, or nil.
func (s *store) count(ctx context.Context, path string) (*countedLease, error) {
	return get[countedLease](ctx, s, leasePrefix+path, "a lease")
}

func (s *store) putCount(ctx context.Context, c countedLease) error {
	path := leasePath(c.Lease)
	if err := s.put(ctx, leasePrefix+path, "a lease", c); err != nil {
		s.agenda.leases.unread(path)
		return err
	}
	s.agenda.leases.set(path, c.Until)
	return nil
}

func (s *store) deleteCount(ctx context.Context, l Lease) error {
	if err := s.delete(ctx, leasePrefix+leasePath(l), "a lease"); err != nil {
		s.agenda.leases.unread(leasePath(l))
		return err
	}
	s.agenda.leases.set(leasePath(l), time.Time{})
	return nil
}

// holders are the IDs of the counted leases of the key that l is of.
func (s *store) holders(ctx context.Context, l Lease) ([]string, error) {
	return s.list(ctx, leasePrefix+holdersPath(l), "the leases of a key")
}

// countPaths are the paths of all counted leases.
func (s *store) countPaths(ctx context.Context) ([]string, error) {
	var paths []string
	err := logical.ScanView(ctx, logical.NewStorageView(s.raw, leasePrefix), func(path string) { paths = append(paths, path) })
	if err != nil {
		return nil, fmt.Errorf("listing the leases in storage: %w", err)
	}
	return paths, nil
}

// replacement notes that a user's key was about to be replaced.
type replacement struct {
	At time.Time `json:"at"`
}

func (s *store) putReplacement(ctx context.Context, userID int32, at time.Time) error {
	return s.put(ctx, replacePrefix+strconv.Itoa(int(userID)), "a replacement", replacement{at})
}

func (s *store) deleteReplacement(ctx context.Context, userID int32) error {
	return s.delete(ctx, replacePrefix+strconv.Itoa(int(userID)), "a replacement")
}

// replacements are those that were not seen to end, by user.
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

// Attempts, PutAttempts, Notes, PutNote and DeleteNote are what a session.Store does.
func (s *store) Attempts(ctx context.Context) ([]session.Attempt, error) {
	stored, err := get[[]session.Attempt](ctx, s, attemptsKey, "the refused logins")
	if err != nil || stored == nil {
		return nil, err
	}
	return *stored, nil
}

// PutAttempts stores them; none at all are deleted.
func (s *store) PutAttempts(ctx context.Context, attempts []session.Attempt) error {
	if len(attempts) == 0 {
		return s.delete(ctx, attemptsKey, "the refused logins")
	}
	return s.put(ctx, attemptsKey, "the refused logins", attempts)
}

// Notes are all sessions that were noted, by name.
func (s *store) Notes(ctx context.Context) (map[string]session.Note, error) {
	return getAll[session.Note](ctx, s, sessionPrefix, "the noted sessions", "a noted session")
}

// PutNote stores the note of a session.
func (s *store) PutNote(ctx context.Context, name string, n session.Note) error {
	return s.put(ctx, sessionPrefix+name, "a noted session", n)
}

// DeleteNote deletes it.
func (s *store) DeleteNote(ctx context.Context, name string) error {
	return s.delete(ctx, sessionPrefix+name, "a noted session")
}

// fingerprint is a keyed hash of a key or a password, good for telling whether it is
// still the same.
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

// mountSalt is made once a mount and stored.
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
	made, err := salt.NewSalt(ctx, s.raw, &salt.Config{HMAC: sha256.New, HMACType: strings.TrimSuffix(hmacPrefix, ":")})
	if err != nil {
		return nil, fmt.Errorf("reading the mount's salt: %w", err)
	}
	s.salt.Store(made)
	return made, nil
}

// invalidate forgets what was read of a key that another node has changed. It tells
// whether that was the config.
func (s *store) invalidate(key string) (config bool) {
	switch {
	case key == salt.DefaultLocation:
		s.salt.Store(nil)
	case strings.HasPrefix(key, rolePrefix):
		s.agenda.roles.unread(strings.TrimPrefix(key, rolePrefix))
	case strings.HasPrefix(key, leasePrefix):
		s.agenda.leases.unread(strings.TrimPrefix(key, leasePrefix))
	}
	return key == configKey
}
