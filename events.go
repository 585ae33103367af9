// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"errors"
	"strconv"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

// Metadata of events beside that of package logical. The name is the same as in Vault's
// database and LDAP engines.
const (
	metadataName   = "name"
	metadataUserID = "user_id"
	metadataReason = "reason"
	metadataError  = "error"
)

// eventRow says what Vault is told about one kind of event. The paths are relative to the
// mount.
type eventRow struct {
	operation string // the type of the event is ecgrid/ and the operation, and -fail if it failed
	path      func(backend.Event) string
	// dataPath is where a client reads what has changed; nil if it can read nothing.
	dataPath func(backend.Event) string
}

// eventTable has the events by kind. The operations are those of Vault's database engine.
var eventTable = map[backend.EventKind]eventRow{
	backend.EventConfigWritten: {operation: "config-write", path: always(configPath), dataPath: always(configPath)},
	backend.EventConfigDeleted: {operation: "config-delete", path: always(configPath)},
	backend.EventRoleCreated:   {operation: "role-create", path: rolePath, dataPath: rolePath},
	backend.EventRoleUpdated:   {operation: "role-update", path: rolePath, dataPath: rolePath},
	backend.EventRoleDeleted:   {operation: "role-delete", path: rolePath},
	backend.EventKeyRotation:   {operation: "rotate", path: rotationPath, dataPath: keyPath},
	backend.EventRootRotation:  {operation: "rotate-root", path: always("rotate-root")},
}

func always(path string) func(backend.Event) string {
	return func(backend.Event) string { return path }
}

func rolePath(e backend.Event) string { return rolesPattern + e.Role }

// rotationPath is the path at which an operator rotates the key, whatever the reason.
func rotationPath(e backend.Event) string {
	if e.Role != "" {
		return "rotate-role/" + e.Role
	}
	return "rotate-key/" + formatUserID(e.UserID)
}

// keyPath is a path at which the new key can be read.
func keyPath(e backend.Event) string {
	if e.Role != "" {
		return credsPattern + e.Role
	}
	return keysPattern + formatUserID(e.UserID)
}

func formatUserID(id int32) string { return strconv.Itoa(int(id)) }

// notify sends an event to Vault. Vault prepends the mount to both paths.
func (m *mount) notify(ctx context.Context, e backend.Event) error {
	row := eventTable[e.Kind]
	operation := row.operation
	if e.Error != "" {
		operation += "-fail"
	}
	metadata := []string{
		logical.EventMetadataModified, strconv.FormatBool(e.Modified),
		logical.EventMetadataOperation, operation,
		logical.EventMetadataPath, row.path(e),
	}
	if row.dataPath != nil {
		metadata = append(metadata, logical.EventMetadataDataPath, row.dataPath(e))
	}
	for _, pair := range optionalMetadata(e) {
		if pair[1] != "" {
			metadata = append(metadata, pair[:]...)
		}
	}
	err := logical.SendEvent(ctx, m, operationPrefix+"/"+operation, metadata...)
	if errors.Is(err, framework.ErrNoEvents) {
		return nil
	}
	return err
}

// optionalMetadata returns names and values. An empty value is left out.
func optionalMetadata(e backend.Event) [][2]string {
	name, userID := e.Role, ""
	if e.UserID != 0 {
		userID = formatUserID(e.UserID)
	}
	if name == "" {
		name = userID // of keys/<user_id>
	}
	return [][2]string{
		{metadataName, name},
		{metadataUserID, userID},
		{metadataReason, string(e.Reason)},
		{metadataError, e.Error},
	}
}
