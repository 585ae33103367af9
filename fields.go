package ecgrid

import (
	"math"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-ecgrid/backend"
)

// The readers below tell a field that was omitted (nil) from one that was sent
// empty or as null, which the framework's own do not.

// stringField gives the string that was sent; null is "".
func stringField(d *framework.FieldData, name string) (*string, error) {
	raw, sent := d.Raw[name]
	if !sent {
		return nil, nil
	}
	if raw == nil {
		return new(string), nil
	}
	// A number would come back in another spelling.
	s, ok := raw.(string)
	if !ok {
		return nil, backend.Invalid("%s has to be a string: put it in quotes", name)
	}
	return &s, nil
}

// durationField gives the duration that was sent; empty and null are cleared.
func durationField(d *framework.FieldData, name string, cleared time.Duration) (*time.Duration, error) {
	raw, sent := d.Raw[name]
	if !sent {
		return nil, nil
	}
	if raw == nil || raw == "" {
		return &cleared, nil
	}
	if f, ok := raw.(float64); ok && f != math.Trunc(f) {
		return nil, wholeSeconds(name)
	}
	duration, err := parseutil.ParseDurationSecond(raw)
	switch {
	case err != nil || duration < 0:
		return nil, backend.Invalid("%s is not a duration: send seconds, or a number with a unit like 30s, 15m or 24h", name)
	case duration%time.Second != 0:
		return nil, wholeSeconds(name)
	}
	return &duration, nil
}

func wholeSeconds(name string) error {
	return backend.Invalid("%s has to be in whole seconds", name)
}

// boolField gives the bool that was sent; empty and null are as if it were omitted.
func boolField(d *framework.FieldData, name string) *bool {
	if raw := d.Raw[name]; raw == nil || raw == "" {
		return nil
	}
	b := d.Get(name).(bool)
	return &b
}

// clearableBoolField gives the bool that was sent; null and empty are false.
func clearableBoolField(d *framework.FieldData, name string) *bool {
	if raw, sent := d.Raw[name]; sent && (raw == nil || raw == "") {
		return new(bool)
	}
	return boolField(d, name)
}

// isNull tells a JSON null from an empty value.
func isNull(d *framework.FieldData, name string) bool {
	raw, sent := d.Raw[name]
	return sent && raw == nil
}

// orZero is the duration, or 0 where none was sent.
func orZero(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}

// seconds is how a duration is returned.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
