// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"strings"
	"testing"
)

// aspNet is a response as an .asmx service writes it.
const aspNet = `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soap:Body><UserGetAPIKeyResponse xmlns="https://os.ecgrid.io/"><UserGetAPIKeyResult>0f-9A</UserGetAPIKeyResult></UserGetAPIKeyResponse></soap:Body></soap:Envelope>`

func TestPlainResult(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) string { return strings.Replace(aspNet, old, new, 1) }
	for name, tt := range map[string]struct {
		body string
		want bool
	}{
		"as .asmx writes it":       {aspNet, true},
		"with a final line break":  {aspNet + "\r\n", true},
		"without a declaration":    {replace(`<?xml version="1.0" encoding="utf-8"?>`, ""), true},
		"another order":            {replace(` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"`, ` xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"`), true},
		"an entity":                {replace("0f-9A", "0f&amp;9A"), false},
		"white space":              {replace("0f-9A", " 0f-9A"), false},
		"not ASCII":                {replace("0f-9A", "0fä9A"), false},
		"no text":                  {replace("0f-9A", ""), false},
		"a comment":                {replace("0f-9A", "0f<!-- -->9A"), false},
		"nil":                      {replace("<UserGetAPIKeyResult>", `<UserGetAPIKeyResult xsi:nil="true">`), false},
		"another operation":        {strings.ReplaceAll(aspNet, "UserGetAPIKey", "GenerateAPIKey"), false},
		"another namespace":        {replace("https://os.ecgrid.io/", "https://os.example/"), false},
		"another SOAP":             {replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"), false},
		"no SOAP namespace":        {replace(` xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"`, ""), false},
		"a namespace twice":        {replace("><soap:Body>", ` xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>`), false},
		"cut off":                  {strings.TrimSuffix(aspNet, ">"), false},
		"something behind":         {aspNet + "<x/>", false},
		"two results":              {replace("</UserGetAPIKeyResult>", "</UserGetAPIKeyResult><UserGetAPIKeyResult/>"), false},
		"an attribute of the body": {replace("<soap:Body>", `<soap:Body id="1">`), false},
		"a key that begins a tag":  {replace("0f-9A", "<0f-9A"), false},
		"nothing":                  {"", false},
	} {
		if text, ok := plainResult("UserGetAPIKey", []byte(tt.body)); ok != tt.want || ok && text != "0f-9A" {
			t.Errorf("%s: %q, %v", name, text, ok)
		}
	}
}

// What plainResult accepts, the parser reads in the same way.
func FuzzPlainResult(f *testing.F) {
	f.Add(aspNet)
	f.Add(aspNet + " \r\n")
	for _, body := range hostile() {
		if len(body) < 4<<10 {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		text, ok := plainResult("UserGetAPIKey", []byte(body))
		if !ok {
			return
		}
		var parsed string
		if err := parseBody("UserGetAPIKey", body, into(&parsed, (*parser).credential)); err != nil || parsed != text {
			t.Errorf("plainResult accepts what the parser does not read: %v", err)
		}
	})
}
