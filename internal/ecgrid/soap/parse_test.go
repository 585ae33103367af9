// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// XML has many ways to write the same response.
func TestEquivalentResponses(t *testing.T) {
	t.Parallel()
	ns := func(s string) string { return strings.NewReplacer("NS", nsSOAP11, "EC", nsECGrid).Replace(s) }
	plain := response("Version", "<VersionResult>k</VersionResult>")
	for name, test := range map[string]struct {
		body, want string
		found      bool
	}{
		"as .asmx writes it": {plain, "k", true},
		"other prefixes":     {ns(`<a:Envelope xmlns:a="NS" xmlns:b="EC"><a:Body><b:VersionResponse><b:VersionResult>k</b:VersionResult></b:VersionResponse></a:Body></a:Envelope>`), "k", true},
		"default namespaces": {ns(`<Envelope xmlns="NS"><Body><VersionResponse xmlns="EC"><VersionResult>k</VersionResult></VersionResponse></Body></Envelope>`), "k", true},
		"headers":            {strings.Replace(plain, "<soap:Body>", "<soap:Header><a><b>x</b></a></soap:Header><soap:Body>", 1), "k", true},
		"white space":        {strings.ReplaceAll(strings.Replace(plain, "<VersionResult", "\n <VersionResult", 1), "</soap:", "\r\n\t</soap:") + "\n ", "k", true},
		"comments":           {strings.ReplaceAll(plain, "><", "><!-- <x> & --><") + "<!-- x -->", "k", true},
		"comment in text":    {strings.Replace(plain, ">k<", ">k<!-- x -->l<", 1), "kl", true},
		"CDATA":              {strings.Replace(plain, ">k<", "><![CDATA[<k>]]>&amp;<![CDATA[&]]><", 1), "<k>&&", true},
		"references":         {strings.Replace(plain, ">k<", ">&lt;&#x41;&#66;&quot;&apos;&gt;<", 1), `<AB"'>`, true},
		"space kept":         {strings.Replace(plain, ">k<", "> k&#13; <", 1), " k\r ", true},
		"BOM":                {"\uFEFF" + plain, "k", true},
		"no declaration":     {plain[strings.Index(plain, "<soap:"):], "k", true},
		"declared UTF-8":     {strings.Replace(plain, "utf-8", "UTF-8", 1), "k", true},
		"not ASCII":          {strings.Replace(plain, ">k<", ">äß€🔑<", 1), "äß€🔑", true},
		"response attribute": {strings.Replace(plain, "<VersionResponse", `<VersionResponse a="b" soap:encodingStyle="x"`, 1), "k", true},
		"nil, spaced":        {response("Version", "<VersionResult xsi:nil='true'> \n<!-- x --></VersionResult>"), "", false},
		"attributes":         {strings.Replace(plain, "<VersionResult", `<VersionResult a="b" soap:encodingStyle="x"`, 1), "k", true},
		"empty":              {response("Version", "<VersionResult/>"), "", true},
		"absent":             {response("Version", ""), "", false},
		"absent, short":      {soapBody(`<VersionResponse xmlns="https://os.ecgrid.io/"/>`), "", false},
		"nil":                {response("Version", `<VersionResult xsi:nil="true"/>`), "", false},
		"nil, 1":             {response("Version", `<VersionResult xsi:nil=" 1 "></VersionResult>`), "", false},
		"not nil":            {response("Version", `<VersionResult xsi:nil="false">k</VersionResult>`), "k", true},
		"other nil":          {response("Version", `<VersionResult nil="true">k</VersionResult>`), "k", true},
		"long":               {response("Version", "<VersionResult>"+strings.Repeat("k", 50<<10)+"</VersionResult>"), strings.Repeat("k", 50<<10), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got string
			found := false
			err := parseBody("Version", test.body, func(p *parser) error {
				found = true
				return into(&got, (*parser).text)(p)
			})
			if err != nil || got != test.want || found != test.found {
				t.Errorf("got %.80q, %v, %v", got, found, err)
			}
		})
	}
}

// Only a valid response means that there is no result: the user would be told to generate a
// key, which would end a valid one.
func TestUnexpectedElementIsNotAnEmptyResult(t *testing.T) {
	t.Parallel()
	for _, op := range allOps {
		name := op.name + "Result"
		for what, result := range map[string]string{
			"foreign element":          `<Maintenance xmlns="urn:proxy"/>`,
			"other element":            "<Maintenance/>",
			"result of other":          "<OtherResult/>",
			"result in no namespace":   "<" + name + ` xmlns="">x</` + name + ">",
			"result in wrong one":      "<" + name + ` xmlns="urn:x">x</` + name + ">",
			"nil in wrong one":         "<" + name + ` xmlns="urn:x" xsi:nil="true"/>`,
			"nil result and another":   "<" + name + ` xsi:nil="true"/><Maintenance/>`,
			"another and a nil result": "<Maintenance/><" + name + ` xsi:nil="true"/>`,
			"beside the result":        op.result + `<Maintenance xmlns="urn:proxy"/>`,
			"before the result":        "<Maintenance/>" + op.result,
			"nil that is not":          "<" + name + ` xsi:nil="true"><a/></` + name + ">",
		} {
			t.Run(op.name+"/"+what, func(t *testing.T) {
				t.Parallel()
				_, err := op.call(t.Context(), serve(t, respondWith(200, response(op.name, result))))
				if e := wantFailure(t, err, ecgrid.ErrBadAnswer); !e.Sent {
					t.Errorf("got %+v", e)
				}
			})
		}
	}
}

// hostile returns malformed responses to Version.
func hostile() map[string]string {
	good := response("Version", "<VersionResult>"+canaryUpstream+"</VersionResult>")
	inner := good[strings.Index(good, "<Version"):strings.Index(good, "</soap:Body>")]
	result := "<VersionResult>" + canaryUpstream + "</VersionResult>"
	swap := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	wide := func(bigEndian bool) string {
		var b []byte
		for _, u := range utf16.Encode([]rune("\uFEFF" + good)) {
			if bigEndian {
				b = append(b, byte(u>>8), byte(u))
			} else {
				b = append(b, byte(u), byte(u>>8))
			}
		}
		return string(b)
	}
	lol := `<!DOCTYPE l [<!ENTITY a "x">`
	for i := 'b'; i < 'k'; i++ {
		lol += fmt.Sprintf(`<!ENTITY %c "%s">`, i, strings.Repeat(fmt.Sprintf("&%c;", i-1), 10))
	}
	return map[string]string{
		"nothing":                 "",
		"blank":                   " \n",
		"text":                    canaryUpstream,
		"HTML":                    "<html><body>" + canaryUpstream + "</body></html>",
		"HTML 5":                  "<!doctype html><html><br></html>",
		"JSON":                    `{"success":true,"data":"` + canaryUpstream + `"}`,
		"NUL":                     swap("<VersionResult>", "<VersionResult>\x00"),
		"control":                 swap("<VersionResult>", "<VersionResult>&#1;"),
		"half a tag":              good[:len(good)-1],
		"half":                    good[:len(good)/2],
		"no end":                  good[:len(good)-len("</soap:Envelope>")],
		"twice":                   good + good,
		"trailing text":           good + "x",
		"trailing element":        good + "<x/>",
		"trailing NUL":            good + "\x00",
		"trailing half comment":   good + "<!--",
		"trailing declaration":    good + `<?xml version="1.0"?>`,
		"leading text":            "x" + good,
		"leading blank":           " " + good, // which makes the declaration invalid
		"instruction":             swap("<soap:Body>", "<?php x?><soap:Body>"),
		"leading instruction":     `<?x y?>` + good[strings.Index(good, "<soap:"):],
		"XML 1.1":                 swap(`version="1.0"`, `version="1.1"`),
		"DTD":                     swap("<soap:Envelope", "<!DOCTYPE a><soap:Envelope"),
		"external entity":         swap("<soap:Envelope", `<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><soap:Envelope`),
		"entity bomb":             strings.Replace(swap("<soap:Envelope", lol+"]><soap:Envelope"), canaryUpstream, "&j;", 1),
		"undefined entity":        swap(canaryUpstream, "&canary;"),
		"HTML entity":             swap(canaryUpstream, "&nbsp;"),
		"bare ampersand":          swap(canaryUpstream, "a & b"),
		"bare ]]>":                swap(canaryUpstream, "]]>"),
		"other envelope":          swap(nsSOAP11, "urn:x"),
		"no envelope":             inner,
		"unknown prefix":          swap(`xmlns:soap="`+nsSOAP11+`"`, ""),
		"SOAP 1.2":                strings.ReplaceAll(good, nsSOAP11, nsSOAP12),
		"older namespace":         strings.ReplaceAll(good, nsECGrid, "http://www.ecgridos.net/"),
		"namespace without /":     strings.ReplaceAll(good, nsECGrid, strings.TrimSuffix(nsECGrid, "/")),
		"no namespace":            strings.Replace(good, ` xmlns="https://os.ecgrid.io/"`, "", 1),
		"other operation":         response("Login", "<LoginResult>"+canaryUpstream+"</LoginResult>"),
		"other case":              strings.ReplaceAll(good, "VersionRes", "versionRes"),
		"the request":             soapBody(`<Version xmlns="https://os.ecgrid.io/"/>`),
		"no body":                 strings.NewReplacer("<soap:Body>", "<soap:Header>", "</soap:Body>", "</soap:Header>").Replace(good),
		"empty body":              soapBody(""),
		"text in body":            soapBody(canaryUpstream),
		"text before result":      swap("<VersionResult>", canaryUpstream+"<VersionResult>"),
		"text after result":       swap("</VersionResult>", "</VersionResult>"+canaryUpstream),
		"text in envelope":        swap("<soap:Body>", canaryUpstream+"<soap:Body>"),
		"two bodies":              swap("</soap:Envelope>", "<soap:Body>"+inner+"</soap:Body></soap:Envelope>"),
		"two responses":           soapBody(inner + inner),
		"response and fault":      soapBody(inner + "<soap:Fault/>"),
		"fault and response":      soapBody("<soap:Fault/>" + inner),
		"header after body":       swap("</soap:Envelope>", "<soap:Header/></soap:Envelope>"),
		"two results":             response("Version", result+result),
		"element before result":   response("Version", "<Extra/>"+result),
		"element after result":    response("Version", result+"<Extra/>"),
		"foreign, before":         response("Version", `<Maintenance xmlns="urn:proxy">`+result+"</Maintenance>"+result),
		"foreign result, before":  response("Version", `<VersionResult xmlns="urn:x">z</VersionResult>`+result),
		"foreign result, after":   response("Version", result+`<VersionResult xmlns="urn:x" xsi:nil="true"/>`),
		"full nil":                response("Version", `<VersionResult xsi:nil="true">`+canaryUpstream+"</VersionResult>"),
		"nil with element":        response("Version", `<VersionResult xsi:nil="true"><a/></VersionResult>`),
		"two results, one nil":    response("Version", result+`<VersionResult xsi:nil="true"/>`),
		"element in result":       swap(canaryUpstream, "<b>"+canaryUpstream+"</b>"),
		"wrong end":               swap("</VersionResult>", "</versionResult>"),
		"attribute without value": swap("<VersionResult>", "<VersionResult a>"),
		"UTF-16":                  wide(false),
		"UTF-16, big":             wide(true),
		"declared UTF-16":         swap("utf-8", "utf-16"),
		"declared Latin 1":        swap("utf-8", "iso-8859-1"),
		"Latin 1":                 swap(canaryUpstream, "\xe4"),
		"overlong":                swap(canaryUpstream, "\xc0\xbc"),
		"gzip":                    "\x1f\x8b\x08\x00\x00\x00\x00\x00",
		"deep":                    swap("<soap:Body>", "<soap:Header>"+strings.Repeat("<a>", maxDepth)+strings.Repeat("</a>", maxDepth)+"</soap:Header><soap:Body>"),
		"long":                    swap(canaryUpstream, strings.Repeat("x", httpclient.MaxSmallBody)),
		"long, trailing":          good + strings.Repeat(" ", httpclient.MaxSmallBody),
		"long, leading":           strings.Repeat("\n", httpclient.MaxSmallBody) + good,
		"half a fault":            soapBody("<soap:Fault><faultcode>soap:Client</faultcode>"),
		"fault, other namespace":  soapBody(`<Fault xmlns="urn:x"><faultcode>Client</faultcode></Fault>`),
		"fault, other SOAP":       soapBody(`<Fault xmlns="` + nsSOAP12 + `"/>`),
	}
}

func TestHostileResponses(t *testing.T) {
	t.Parallel()
	for name, body := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var next string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if next == "" {
					next = body + " "
					respondWith(200, body)(w, r)
					return
				}
				strict(w, r)
			})
			_, err := c.Version(t.Context())
			if e := wantFailure(t, err, ecgrid.ErrBadAnswer); !e.Sent || e.Reason == "" {
				t.Errorf("got %+v", e)
			}
			if got, err := c.Version(t.Context()); err != nil || got != "v4.1 (Build 472)" {
				t.Errorf("the next call: %q, %v", got, err)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	for _, op := range allOps {
		f.Add(response(op.name, op.result))
	}
	f.Add(response("UserList", "<UserListResult><Other/></UserListResult>"))
	f.Add(response("Version", `<Maintenance xmlns="urn:proxy"/>`))
	f.Add(response("UserGetAPIKey", "<UserGetAPIKeyResult> a&#13;b </UserGetAPIKeyResult>"))
	f.Add(response("UserGetAPIKey", "<UserGetAPIKeyResult>&#xa0;</UserGetAPIKeyResult>"))
	for _, body := range hostile() {
		if len(body) < 4<<10 {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		var key string
		for op, parseResult := range map[string]func(*parser) error{
			"Version":       into(new(string), (*parser).text),
			"UserGetAPIKey": into(&key, (*parser).credential),
			"WhoAmI":        into(new(ecgrid.Session), (*parser).session),
			"UserList":      into(new([]ecgrid.User), userList(ecgrid.MaxListMemory)),
		} {
			err := parseBody(op, body, parseResult)
			if err == nil && strings.ContainsFunc(key, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
				t.Fatal("a key that is not one word")
			}
			var fail *httpclient.Failure
			if errors.As(err, &fail) && !isOurReason(fail.Reason) {
				t.Fatalf("%s: a reason that is not ours", op)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := response("UserGetAPIKey", "<UserGetAPIKeyResult>00000000-0000-0000-0000-000000000000</UserGetAPIKeyResult>")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var key string
	for b.Loop() {
		if err := parseBody("UserGetAPIKey", body, into(&key, (*parser).text)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseUserList(b *testing.B) {
	const n = 1000
	body := response("UserList", "<UserListResult>"+strings.Repeat("<UserIDInfo>"+userInfo+"</UserIDInfo>", n)+"</UserListResult>")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var users []ecgrid.User
	for b.Loop() {
		in := newBoundedReader(strings.NewReader(body), maxListBody)
		if err := newParser(in).parse("UserList", true, into(&users, userList(ecgrid.MaxListMemory))); err != nil || len(users) != n {
			b.Fatal(len(users), err)
		}
		in.release()
	}
}
