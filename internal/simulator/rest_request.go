// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// restCredential is what a request sends. The documentation allows both kinds for every
// call; of both at once the key counts.
type restCredential struct {
	value   string
	isToken bool
}

func readCredential(h http.Header) restCredential {
	if key := h.Get("X-API-Key"); key != "" {
		return restCredential{value: key}
	}
	authorization := h.Get("Authorization")
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		token = ""
	}
	return restCredential{value: token, isToken: authorization != ""}
}

// refusal is InvalidAPIKey for a missing credential too.
func (c restCredential) refusal() restError {
	if c.isToken {
		return restInvalidSession
	}
	return restInvalidKey
}

// restParam is a field of a request's body.
type restParam struct {
	name     string
	schema   schema
	required bool
	read     func(json.RawMessage) (value any, ok bool)
}

func stringParam(name string, required bool) restParam {
	return restParam{name, textType, required, readString}
}

// enumParam is an optional value of an enumeration of the WSDL.
func enumParam(name, enum string) restParam {
	return restParam{name, enumeration(enum), false, func(raw json.RawMessage) (any, bool) {
		value, ok := readString(raw)
		return value, ok && slices.Contains(enums[enum], value.(string))
	}}
}

// intParam is an optional int32 of at least the given value.
func intParam(name string, least int32) restParam {
	return restParam{name, integerFrom(least), false, func(raw json.RawMessage) (any, bool) {
		var n int32
		err := json.Unmarshal(raw, &n)
		return n, err == nil && n >= least
	}}
}

func readString(raw json.RawMessage) (any, bool) {
	var value string
	err := json.Unmarshal(raw, &value)
	return value, err == nil
}

func (c *restCall) text(name string) string {
	value, _ := c.args[name].(string)
	return value
}

func (c *restCall) number(name string, otherwise int32) int32 {
	if n, ok := c.args[name].(int32); ok {
		return n
	}
	return otherwise
}

// readArgs reads a body strictly. As in ASP.NET, unknown fields are ignored, null is an
// absent field, and an empty string is none for a required field. A call without parameters
// needs no body. A refusal contains nothing of the body, which holds credentials.
func readArgs(contentType string, body []byte, params []restParam) (map[string]any, *restError) {
	if len(body) == 0 && len(params) == 0 {
		return nil, nil
	}
	media, detail, err := mime.ParseMediaType(contentType)
	charset := detail["charset"]
	if err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, &restNotJSON
	}
	fields, why := readObject(body)
	if why != "" {
		return nil, invalidBody(why)
	}
	args := map[string]any{}
	for _, p := range params {
		raw, given := fields[p.name]
		if !given || string(raw) == "null" || p.required && string(raw) == `""` {
			if p.required {
				return nil, invalidBody(fmt.Sprintf("%s is missing", p.name))
			}
			continue
		}
		value, ok := p.read(raw)
		if !ok {
			return nil, invalidBody(fmt.Sprintf("%s has the wrong type or is not an allowed value", p.name))
		}
		args[p.name] = value
	}
	return args, nil
}

func invalidBody(why string) *restError {
	e := restInvalidParameter.saying(why)
	return &e
}

// readObject reads one JSON object without a duplicate field, or says what is wrong.
func readObject(body []byte) (fields map[string]json.RawMessage, why string) {
	const malformed = "the body is not one JSON object"
	d := json.NewDecoder(bytes.NewReader(body))
	if start, err := d.Token(); err != nil || start != json.Delim('{') || !utf8.Valid(body) {
		return nil, malformed
	}
	fields = map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, malformed
		}
		var raw json.RawMessage
		if d.Decode(&raw) != nil {
			return nil, malformed
		}
		if fields[name.(string)] != nil {
			return nil, "a field is given twice"
		}
		fields[name.(string)] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed
	}
	return fields, ""
}
