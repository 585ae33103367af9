package backend

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// WALPrefix is where framework keeps its write-ahead log: it holds a password for
// as long as a rotate-root runs.
const WALPrefix = framework.WALPrefix

// rootWALKind marks the entry that rotate-root writes before it changes the password.
const rootWALKind = "rotate-root"

// rootWAL is a password that ECGrid may have by now, and whose it is.
type rootWAL struct {
	id       string
	Username string
	Server   string // scheme, host and port
	Password string
	Created  time.Time
}

func putRootWAL(ctx context.Context, storage logical.Storage, w rootWAL) (id string, err error) {
	id, err = framework.PutWAL(ctx, storage, rootWALKind, map[string]string{
		"username": w.Username,
		"server":   w.Server,
		"password": w.Password,
		"created":  w.Created.Format(time.RFC3339),
	})
	if err != nil {
		return "", fmt.Errorf("storing the new password before the change: %w", err)
	}
	return id, nil
}

// rootWALs are those that stand, of which there is one at the most unless storage
// failed to delete one.
func rootWALs(ctx context.Context, storage logical.Storage) ([]rootWAL, error) {
	ids, err := framework.ListWAL(ctx, storage)
	if err != nil {
		return nil, fmt.Errorf("listing the write-ahead log: %w", err)
	}
	var wals []rootWAL
	for _, id := range ids {
		entry, err := framework.GetWAL(ctx, storage, id)
		if err != nil {
			return nil, fmt.Errorf("reading the write-ahead log: %w", err)
		}
		if entry == nil || entry.Kind != rootWALKind {
			continue
		}
		wals = append(wals, decodeRootWAL(id, entry.Data))
	}
	return wals, nil
}

func decodeRootWAL(id string, data any) rootWAL {
	fields, _ := data.(map[string]any)
	text := func(name string) string {
		s, _ := fields[name].(string)
		return s
	}
	created, err := time.Parse(time.RFC3339, text("created"))
	if err != nil {
		created = time.Time{} // it is only told to people
	}
	return rootWAL{id: id, Username: text("username"), Server: text("server"), Password: text("password"), Created: created}
}

func deleteWAL(ctx context.Context, storage logical.Storage, id string) error {
	if err := framework.DeleteWAL(ctx, storage, id); err != nil {
		return fmt.Errorf("deleting from the write-ahead log: %w", err)
	}
	return nil
}
