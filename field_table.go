// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
)

// fieldTable lists the fields of a path, one row each. Its schemas, its patch and
// the data of a read are all derived from the rows. P is the patch that a write
// fills. S is the stored value that a read returns.
type fieldTable[P, S any] []fieldRow[P, S]

type fieldRow[P, S any] struct {
	name     string
	request  *framework.FieldSchema // nil if the field cannot be written
	response *framework.FieldSchema // nil if the field is never returned
	parse    func(d *framework.FieldData, p *P) error
	value    func(s S) any
}

// noPatch is the patch of a table whose fields are only returned.
type noPatch struct{}

// requestSchema gives the fields that a write takes.
func (t fieldTable[P, S]) requestSchema() map[string]*framework.FieldSchema {
	return t.schemas(func(row fieldRow[P, S]) *framework.FieldSchema { return row.request })
}

// responseSchema gives the fields that a read returns.
func (t fieldTable[P, S]) responseSchema() map[string]*framework.FieldSchema {
	return t.schemas(func(row fieldRow[P, S]) *framework.FieldSchema { return row.response })
}

func (t fieldTable[P, S]) schemas(of func(fieldRow[P, S]) *framework.FieldSchema) map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{}
	for _, row := range t {
		if schema := of(row); schema != nil {
			fields[row.name] = schema
		}
	}
	return fields
}

// patch parses a write.
func (t fieldTable[P, S]) patch(d *framework.FieldData) (p P, err error) {
	for _, row := range t {
		if row.parse == nil {
			continue
		}
		if err := row.parse(d, &p); err != nil {
			return p, err
		}
	}
	return p, nil
}

// data gives the response of a read.
func (t fieldTable[P, S]) data(s S) map[string]any {
	data := map[string]any{}
	for _, row := range t {
		if row.value != nil {
			data[row.name] = row.value(s)
		}
	}
	return data
}

// stringField is a string. An empty value or a null clears it.
func stringField[P, S any](name, title, description string, patch func(*P) **string, stored func(S) string) fieldRow[P, S] {
	schema := newSchema(framework.TypeString, title, description)
	return fieldRow[P, S]{
		name:     name,
		request:  schema,
		response: schema,
		parse: func(d *framework.FieldData, p *P) (err error) {
			*patch(p), err = parseString(d, name)
			return err
		},
		value: func(s S) any { return stored(s) },
	}
}

// durationField is a duration. An empty value or a null resets it to the default.
// A read returns it in seconds.
func durationField[P, S any](name, title, description string, defaultValue time.Duration, patch func(*P) **time.Duration, stored func(S) time.Duration) fieldRow[P, S] {
	request := newSchema(framework.TypeDurationSecond, title, description)
	if defaultValue > 0 {
		request.Default = fmt.Sprintf("%ds", seconds(defaultValue))
	}
	return fieldRow[P, S]{
		name:     name,
		request:  request,
		response: newSchema(framework.TypeInt, title, description+" In seconds."),
		parse: func(d *framework.FieldData, p *P) (err error) {
			*patch(p), err = parseDuration(d, name, defaultValue)
			return err
		},
		value: func(s S) any { return seconds(stored(s)) },
	}
}

// intField is a whole number. An empty value or a null resets it to the default.
func intField[P, S any](name, title, description string, defaultValue int, patch func(*P) **int, stored func(S) int) fieldRow[P, S] {
	request := newSchema(framework.TypeInt, title, description)
	request.Default = defaultValue
	return fieldRow[P, S]{
		name:     name,
		request:  request,
		response: newSchema(framework.TypeInt, title, description),
		parse: func(d *framework.FieldData, p *P) (err error) {
			*patch(p), err = parseInt(d, name, defaultValue)
			return err
		},
		value: func(s S) any { return stored(s) },
	}
}

// boolField is a bool. An empty value or a null resets it to false.
func boolField[P, S any](name, title, description string, patch func(*P) **bool, stored func(S) bool) fieldRow[P, S] {
	schema := newSchema(framework.TypeBool, title, description)
	return fieldRow[P, S]{
		name:     name,
		request:  schema,
		response: schema,
		parse: func(d *framework.FieldData, p *P) error {
			b := parseBool(d, name)
			if _, sent := d.Raw[name]; sent && b == nil {
				b = new(bool)
			}
			*patch(p) = b
			return nil
		},
		value: func(s S) any { return stored(s) },
	}
}

// returnedField is a field that a read returns and no write takes.
func returnedField[P, S any](name string, kind framework.FieldType, description string, value func(S) any) fieldRow[P, S] {
	return fieldRow[P, S]{name: name, response: &framework.FieldSchema{Type: kind, Description: description}, value: value}
}

// withDefault documents the default of a written field.
func (row fieldRow[P, S]) withDefault(value any) fieldRow[P, S] {
	request := *row.request
	request.Default, request.DisplayAttrs.Value = value, value
	row.request = &request
	return row
}
