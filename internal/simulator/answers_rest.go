// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// writeRESTStatus is plain text for a status that the API does not document, as of a proxy.
func (b badAnswer) writeRESTStatus() {
	status := cmp.Or(b.fault.Status, http.StatusServiceUnavailable)
	e := restErrorByStatus(status, b.req.cred).changedBy(b.fault)
	if e.code == "" {
		b.writeStatus()
		return
	}
	e.reply().send(b.w)
}

const (
	jsonType  = "application/json; charset=utf-8"
	dataStart = `{"success":true,"data":`
)

func (b badAnswer) writeHugeJSON() {
	b.w.Header().Set("Content-Type", jsonType)
	_, _ = io.WriteString(b.w, dataStart+`"`) // the client may have left
	if b.writeFiller() {
		_, _ = io.WriteString(b.w, `","errorCode":"","message":""}`)
	}
}

func (b badAnswer) writeNested() {
	const depth = 1_000_000
	b.w.Header().Set("Content-Type", jsonType)
	_, _ = io.WriteString(b.w, dataStart+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`,"errorCode":"","message":""}`)
}

func (b badAnswer) emptyData() {
	b.replaceData(func(data json.RawMessage) string {
		if kind := string(data[:1]); kind == "{" || kind == "[" {
			return `"data":` + map[string]string{"{": "{}", "[": "[]"}[kind]
		}
		return `"data":""`
	})
}

func (b badAnswer) absentData() { b.replaceData(func(json.RawMessage) string { return "" }) }

func (b badAnswer) nullData() {
	b.replaceData(func(json.RawMessage) string { return `"data":null` })
}

func (b badAnswer) nestData() {
	b.replaceData(func(data json.RawMessage) string { return `"data":[[` + string(data) + `]]` })
}

// doubleData has the right data last: a reader that takes the last one would accept it.
func (b badAnswer) doubleData() {
	b.replaceData(func(data json.RawMessage) string { return `"data":null,"data":` + string(data) })
}

// otherData is the data of GET /users/key/{id}, or of POST /auth/login for that call itself.
func (b badAnswer) otherData() {
	b.replaceData(func(data json.RawMessage) string {
		if b.req.op == "UserGetAPIKey" {
			return `"data":{"token":` + string(data) + `,"expiresAt":"2099-01-01T00:00:00Z","userId":1}`
		}
		key, _ := json.Marshal(newGUID()) // a string does not fail
		return `"data":` + string(key)
	})
}

// replaceData replaces the field data by what is returned, "" for nothing.
func (b badAnswer) replaceData(with func(json.RawMessage) string) {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(b.reply.body, &fields) // all answers are envelopes
	var out []string
	for _, name := range []string{"success", "data", "errorCode", "message"} {
		field := `"` + name + `":` + string(fields[name])
		if name == "data" {
			field = with(fields[name])
		}
		if fields[name] != nil && field != "" {
			out = append(out, field)
		}
	}
	b.send(b.reply.contentType, []byte("{"+strings.Join(out, ",")+"}\n"))
}

func (b badAnswer) wrapEnvelope() {
	b.send(b.reply.contentType, []byte(`{"d":`+string(bytes.TrimSpace(b.reply.body))+"}\n"))
}

func (b badAnswer) writeJSONAsUTF16() { b.sendUTF16(string(b.reply.body)) }

// writeJSONAsLatin1 adds a letter that UTF-8 encodes differently.
func (b badAnswer) writeJSONAsLatin1() {
	b.sendLatin1(strings.Replace(string(b.reply.body), "{", "{\"note\":\"caf\xe9\",", 1))
}
