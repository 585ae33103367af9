// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-ecgrid/backend"
)

// Names of the fields that more than one path has.
const (
	fieldName   = "name"
	fieldUserID = "user_id"
	fieldAPIKey = "api_key"
	fieldTTL    = "ttl"
	fieldMaxTTL = "max_ttl"
)

func newSchema(kind framework.FieldType, title, description string) *framework.FieldSchema {
	return &framework.FieldSchema{Type: kind, Description: description, DisplayAttrs: &framework.DisplayAttributes{Name: title}}
}

// userIDField is the user ID in a path.
func userIDField() *framework.FieldSchema {
	field := newSchema(framework.TypeString, "User ID", "UserID of the ECGrid user: a plain decimal number from 1 to 2147483647.")
	field.Required = true
	return field
}

// roleNameField is the role name in a path.
func roleNameField() *framework.FieldSchema {
	field := newSchema(framework.TypeString, "Name", "Name of the role.")
	field.Required = true
	return field
}

// readTTLField is the lease duration that a read of a key asks for.
func readTTLField() *framework.FieldSchema {
	field := newSchema(framework.TypeDurationSecond, "TTL", "Lease duration of this read, up to the configured max_ttl and the mount's maximum. If 0 or unset, the configured ttl applies, or else the mount's default.")
	field.Query = true
	return field
}

// scheduleFields are the rotation fields of Vault's own engines.
func scheduleFields[P, S any](patch func(*P) *backend.SchedulePatch, stored func(S) backend.Schedule) fieldTable[P, S] {
	return fieldTable[P, S]{
		durationField("rotation_period", "Rotation period", "Time between rotations, at least 1m. 0 disables it. Cannot be combined with rotation_schedule.", 0,
			func(p *P) **time.Duration { return &patch(p).Period },
			func(s S) time.Duration { return stored(s).Period }),
		stringField("rotation_schedule", "Rotation schedule", "Cron expression with five fields, in UTC, for the rotation times.",
			func(p *P) **string { return &patch(p).Cron },
			func(s S) string { return stored(s).Cron }),
		durationField("rotation_window", "Rotation window", "How long after a time of rotation_schedule the rotation may still start, at least 1h. 0 means no limit.", 0,
			func(p *P) **time.Duration { return &patch(p).Window },
			func(s S) time.Duration { return stored(s).Window }),
	}
}

// The parsers below tell an omitted field (nil) from one that was sent empty or
// as null. The framework's own getters do not.

// parseString parses a string field. A null is "".
func parseString(d *framework.FieldData, name string) (*string, error) {
	raw, sent := d.Raw[name]
	if !sent {
		return nil, nil
	}
	if raw == nil {
		return new(string), nil
	}
	// A number is refused because it would be stored in a different spelling.
	s, ok := raw.(string)
	if !ok {
		return nil, backend.Invalid("%s must be a string: put it in quotes", name)
	}
	return &s, nil
}

// sentOrDefault tells whether the value of a field has to be parsed. Otherwise it returns
// nil for an omitted field, and the default for an empty value or a null.
func sentOrDefault[T any](d *framework.FieldData, name string, defaultValue T) (value *T, parse bool) {
	raw, sent := d.Raw[name]
	switch {
	case !sent:
		return nil, false
	case raw == nil || raw == "":
		return &defaultValue, false
	}
	return nil, true
}

// parseDuration parses a duration field. An empty value or a null is the default.
func parseDuration(d *framework.FieldData, name string, defaultValue time.Duration) (*time.Duration, error) {
	if value, parse := sentOrDefault(d, name, defaultValue); !parse {
		return value, nil
	}
	raw := d.Raw[name]
	duration, err := parseutil.ParseDurationSecond(raw)
	number, isFloat := raw.(float64)
	switch {
	case isFloat && number != math.Trunc(number), err == nil && duration%time.Second != 0:
		return nil, backend.Invalid("%s must be a whole number of seconds", name)
	case err != nil || duration < 0:
		return nil, backend.Invalid("%s is not a duration: send seconds, or a number with a unit, such as 30s, 15m or 24h", name)
	}
	return &duration, nil
}

// parseBool parses a bool field. An empty value or a null counts as omitted.
func parseBool(d *framework.FieldData, name string) *bool {
	if raw := d.Raw[name]; raw == nil || raw == "" {
		return nil
	}
	b := d.Get(name).(bool)
	return &b
}

// parseUserID parses a user_id that is a string or a JSON number.
func parseUserID(d *framework.FieldData) (*int32, error) {
	if _, sent := d.Raw[fieldUserID]; !sent {
		return nil, nil
	}
	text, err := numberText(d, fieldUserID)
	if err != nil {
		return nil, err
	}
	id, err := backend.ParseUserID(text)
	return &id, err
}

// parseInt parses a field that is a whole number. An empty value or a null is the default.
func parseInt(d *framework.FieldData, name string, defaultValue int) (*int, error) {
	if value, parse := sentOrDefault(d, name, defaultValue); !parse {
		return value, nil
	}
	text, err := numberText(d, name)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, backend.Invalid("%s must be a whole number", name)
	}
	return &n, nil
}

// numberText returns the digits of a field that is a string or a JSON number. Numbers
// reach a plugin as floats.
func numberText(d *framework.FieldData, name string) (string, error) {
	switch raw := d.Raw[name].(type) {
	case string:
		return raw, nil
	case json.Number:
		return raw.String(), nil
	case float64:
		if raw == math.Trunc(raw) {
			return strconv.FormatFloat(raw, 'f', 0, 64), nil
		}
	case int:
		return strconv.Itoa(raw), nil
	}
	return "", backend.Invalid("%s must be a whole number", name)
}

// parseReadTTL parses the ttl of a read. 0 means that none was sent.
func parseReadTTL(d *framework.FieldData) (time.Duration, error) {
	ttl, err := parseDuration(d, fieldTTL, 0)
	if ttl == nil {
		return 0, err
	}
	return *ttl, nil
}

// pathUserID parses the user ID in a path.
func pathUserID(d *framework.FieldData) (int32, error) {
	return backend.ParseUserID(d.Get(fieldUserID).(string))
}

// pathRoleName is the role name in a path.
func pathRoleName(d *framework.FieldData) string { return d.Get(fieldName).(string) }

// seconds is the form of a duration in a response.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// timestamp is the form of a time in a response. The zero time is null.
func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}
