// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestInvalidRequests sends requests with one mistake each.
func TestInvalidRequests(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	const ns = ` xmlns="https://os.ecgrid.io/"`
	good := v11.wrap(element("UserGetAPIKey", "SessionID", "x", "UserID", "5001"))
	for name, c := range map[string]struct {
		message string
		change  func(*http.Request)
		status  int
		reason  string
	}{
		"wrong order":            {message: v11.wrap(element("UserGetAPIKey", "UserID", "5001", "SessionID", "x")), reason: "unable to read request"},
		"newer docs' namespace":  {message: strings.ReplaceAll(good, "https://os.ecgrid.io/", "http://www.ecgridos.net/"), reason: "was not expected"},
		"no namespace":           {message: strings.ReplaceAll(good, ns, ""), reason: "was not expected"},
		"unqualified parameter":  {message: strings.ReplaceAll(good, "<UserID>", `<UserID xmlns="">`), reason: "<UserID> is missing"},
		"unbound prefix":         {message: strings.ReplaceAll(strings.ReplaceAll(good, "<UserGetAPIKey", "<t:UserGetAPIKey"), "</UserGetAPIKey", "</t:UserGetAPIKey"), reason: "was not expected"},
		"unknown element":        {message: v11.wrap(element("UserGetAPIKey", "SessionID", "x", "UserID", "5001", "Extra", "1")), reason: "not expected here"},
		"parameter twice":        {message: v11.wrap(element("UserGetAPIKey", "SessionID", "x", "SessionID", "x", "UserID", "5001")), reason: "<UserID> is missing"},
		"UserID missing":         {message: v11.wrap(element("UserGetAPIKey", "SessionID", "x")), reason: "<UserID> is missing"},
		"UserID empty":           {message: v11.wrap(element("UserGetAPIKey", "SessionID", "x", "UserID", "")), reason: "not an int"},
		"UserID a word":          {message: v11.wrap(element("UserGetAPIKey", "SessionID", "x", "UserID", "abc")), reason: "not an int"},
		"UserID a fraction":      {message: v11.wrap(element("UserGetAPIKey", "SessionID", "x", "UserID", "5001.0")), reason: "not an int"},
		"UserID hexadecimal":     {message: v11.wrap(element("UserGetAPIKey", "SessionID", "x", "UserID", "0x1389")), reason: "not an int"},
		"UserID beyond int":      {message: v11.wrap(element("UserGetAPIKey", "SessionID", "x", "UserID", "2147483648")), reason: "not an int"},
		"elements in a string":   {message: strings.ReplaceAll(good, "<SessionID>x", "<SessionID><b>x</b>"), reason: "holds elements"},
		"text between":           {message: strings.ReplaceAll(good, "<SessionID>", "text<SessionID>"), reason: "text is not allowed"},
		"attribute":              {message: strings.ReplaceAll(good, "<SessionID>", `<SessionID id="1">`), reason: "attribute"},
		"nil":                    {message: strings.ReplaceAll(good, "<SessionID>", `<SessionID xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:nil="true">`), reason: "attribute"},
		"unknown operation":      {message: v11.wrap(element("TerminateAPIKey")), reason: "was not expected"},
		"another operation":      {message: v11.wrap(element("WhoAmI", "SessionID", "x")), reason: "was not expected"},
		"two calls":              {message: v11.wrap(element("Version") + element("Version")), reason: "one Body"},
		"empty body":             {message: v11.wrap(""), reason: "one Body"},
		"no envelope":            {message: element("UserGetAPIKey", "UserID", "5001"), reason: "not a SOAP envelope"},
		"nothing":                {message: "", reason: "one root element"},
		"two documents":          {message: good + "<a/>", reason: "one root element"},
		"half":                   {message: good[:len(good)-20], reason: "not well-formed"},
		"DTD":                    {message: strings.Replace(good, "?>", "?><!DOCTYPE a>", 1), reason: "DTD is prohibited"},
		"entity":                 {message: strings.Replace(good, ">x<", ">&x;<", 1), reason: "not well-formed"},
		"deep":                   {message: v11.wrap(strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40)), reason: "too deep"},
		"declared Latin-1":       {message: strings.Replace(good, "utf-8", "iso-8859-1", 1), reason: "not well-formed"},
		"not UTF-8":              {message: strings.Replace(good, ">x<", ">\xe9<", 1), reason: "not well-formed"},
		"UTF-16":                 {message: "\xff\xfe<\x00a\x00/\x00>\x00", reason: "not well-formed"},
		"SOAP 1.2 envelope":      {message: v12.wrap(element("UserGetAPIKey", "SessionID", "x", "UserID", "5001")), reason: "version mismatch"},
		"header insisted on":     {message: strings.Replace(good, "<e:Body>", `<e:Header><a e:mustUnderstand="1"/></e:Header><e:Body>`, 1), reason: "header was not understood"},
		"no SOAPAction":          {change: func(r *http.Request) { r.Header.Del("SOAPAction") }, reason: "valid action parameter"},
		"empty SOAPAction":       {change: func(r *http.Request) { r.Header.Set("SOAPAction", `""`) }, reason: "did not recognize"},
		"unquoted SOAPAction":    {change: func(r *http.Request) { r.Header.Set("SOAPAction", "https://os.ecgrid.io/UserGetAPIKey") }, reason: "did not recognize"},
		"half-quoted SOAPAction": {change: func(r *http.Request) { r.Header.Set("SOAPAction", `"https://os.ecgrid.io/UserGetAPIKey`) }, reason: "did not recognize"},
		"SOAPAction of others":   {change: func(r *http.Request) { r.Header.Set("SOAPAction", `"http://www.ecgridos.net/UserGetAPIKey"`) }, reason: "did not recognize"},
		"SOAPAction elsewhere":   {change: func(r *http.Request) { r.Header.Set("SOAPAction", `"https://os.ecgrid.io/Login"`) }, reason: "was not expected"},
		"content type":           {change: func(r *http.Request) { r.Header.Set("Content-Type", "application/xml") }, status: http.StatusUnsupportedMediaType},
		"no content type":        {change: func(r *http.Request) { r.Header.Del("Content-Type") }, status: http.StatusUnsupportedMediaType},
		"charset":                {change: func(r *http.Request) { r.Header.Set("Content-Type", "text/xml; charset=utf-16") }, status: http.StatusUnsupportedMediaType},
		"too large":              {message: good + strings.Repeat(" ", simulator.MaxBody), status: http.StatusRequestEntityTooLarge},
		"PUT":                    {change: func(r *http.Request) { r.Method = http.MethodPut }, status: http.StatusMethodNotAllowed},
		"GET":                    {change: func(r *http.Request) { r.Method = http.MethodGet }, status: http.StatusMethodNotAllowed},
		"the GET form":           {change: func(r *http.Request) { r.URL.Path += "/UserGetAPIKey" }, status: http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			message := c.message
			if message == "" && name != "nothing" {
				message = good
			}
			r := v11.request("UserGetAPIKey", message)
			if c.change != nil {
				c.change(r)
			}
			a := send(s, r)
			want := c.status
			if want == 0 {
				want = http.StatusInternalServerError
			}
			if a.status != want {
				t.Fatalf("HTTP %d, want %d", a.status, want)
			}
			if c.reason == "" {
				return
			}
			if reason, _ := a.text("faultstring"); !strings.Contains(reason, c.reason) {
				t.Errorf("fault says %q, want %q", reason, c.reason)
			}
			if detail, ok := a.text("detail"); !ok || detail != "" {
				t.Error("a fault of ASP.NET must have an empty detail")
			}
		})
	}
	if n := s.Count(""); n != 0 {
		t.Errorf("%d invalid requests were counted as calls", n)
	}
}

// TestValidRequests sends the same request in different forms.
func TestValidRequests(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	key := user(t, s, simulator.AdminUserID).APIKey
	good := element("UserInfo", "SessionID", key, "UserID", "5001")
	for name, c := range map[string]struct {
		wire    wire
		message string
		change  func(*http.Request)
	}{
		"plain":           {v11, v11.wrap(good), nil},
		"byte order mark": {v11, "\xef\xbb\xbf" + v11.wrap(good), nil},
		"header":          {v11, strings.Replace(v11.wrap(good), "<e:Body>", "<e:Header><a/></e:Header><e:Body>", 1), nil},
		"prefix":          {v11, v11.wrap(`<t:UserInfo xmlns:t="https://os.ecgrid.io/"><t:SessionID>` + key + `</t:SessionID><t:UserID> +5001 </t:UserID></t:UserInfo>`), nil},
		"white space":     {v11, strings.ReplaceAll(v11.wrap(good), "><", ">\r\n  <"), nil},
		"type given":      {v11, strings.Replace(v11.wrap(good), "<UserID>", `<UserID xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:type="int">`, 1), nil},
		"charset quoted":  {v11, v11.wrap(good), func(r *http.Request) { r.Header.Set("Content-Type", `text/xml; charset="UTF-8"`) }},
		"1.2":             {v12, v12.wrap(good), nil},
		"1.2 with action": {v12, v12.wrap(good), func(r *http.Request) {
			r.Header.Set("Content-Type", v12.contentType+`; action="https://os.ecgrid.io/UserInfo"`)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := c.wire.request("UserInfo", c.message)
			if c.change != nil {
				c.change(r)
			}
			a := send(s, r)
			if id, _ := a.text("UserID"); a.status != http.StatusOK || id != "5001" {
				t.Errorf("HTTP %d, UserID %q", a.status, id)
			}
			if got := a.header.Get("Content-Type"); got != c.wire.contentType {
				t.Errorf("answered as %s", got)
			}
		})
	}
	other := v12.request("", v12.wrap(good))
	other.Header.Set("Content-Type", v12.contentType+`; action="https://os.ecgrid.io/Login"`)
	if a := send(s, other); a.status != http.StatusInternalServerError {
		t.Errorf("SOAP 1.2 action of another operation: HTTP %d", a.status)
	}
}

// Strings have minOccurs=0: an absent one is the same as an empty one. It is refused for
// its value, not by the schema.
func TestAbsentStringIsEmpty(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	wantRefused(t, soapCall(s, "Login"), "AccessDenied")
	wantRefused(t, soapCall(s, "WhoAmI"), "SessionTimeout")
	wantRefused(t, soapCall(s, "UserGetAPIKey", "UserID", "5001"), "SessionTimeout")
}

// TestFaultShapes has every shape in both versions of SOAP.
func TestFaultShapes(t *testing.T) {
	t.Parallel()
	const errorFields = "<ErrorCode>3</ErrorCode><ErrorString>NotFound</ErrorString><ErrorItem>UserID</ErrorItem><ErrorMessage>Not found</ErrorMessage>"
	for shape, detail := range map[simulator.FaultShape]string{
		simulator.ShapeDetails:    `<details xmlns="https://os.ecgrid.io/">` + errorFields + "</details>",
		simulator.ShapeErrorInfo:  "<ErrorInfo>" + errorFields + "</ErrorInfo>",
		simulator.ShapeDirect:     errorFields,
		simulator.ShapeAnyChild:   `<e:Anything xmlns:e="urn:anything">` + errorFields + "</e:Anything>",
		simulator.ShapeCodeName:   "<ECGridOSSOAPErrorCode>ObjectNotFound</ECGridOSSOAPErrorCode>",
		simulator.ShapeCodeNumber: "<ECGridOSSOAPErrorCode>3</ECGridOSSOAPErrorCode>",
		simulator.ShapeEmpty:      "",
	} {
		t.Run(string(shape), func(t *testing.T) {
			t.Parallel()
			s := newSim(t, simulator.Options{FaultShape: shape})
			key := user(t, s, simulator.AdminUserID).APIKey
			for v, name := range map[wire]string{v11: "detail", v12: "soap:Detail"} {
				want := "<" + name + ">" + detail + "</" + name + ">"
				if detail == "" {
					want = "<" + name + " />"
				}
				a := v.call(s, "UserInfo", "SessionID", key, "UserID", "4711")
				if a.status != http.StatusInternalServerError || !strings.Contains(a.body, want) {
					t.Errorf("SOAP %s: HTTP %d without %s", v.name, a.status, want)
				}
			}
		})
	}
	if len(simulator.FaultShapes) != 7 {
		t.Errorf("%d shapes, but 7 are tested here", len(simulator.FaultShapes))
	}
}

func TestFaultCauses(t *testing.T) {
	t.Parallel()
	for cause, want := range map[simulator.Cause]struct{ code11, code12, name, number string }{
		simulator.SessionDead:      {"soap:Client", "soap:Sender", "Authentication", "5"},
		simulator.LoginRefused:     {"soap:Client", "soap:Sender", "Authentication", "2"},
		simulator.AccessDenied:     {"soap:Client", "soap:Sender", "Authorization", "2"},
		simulator.NotFound:         {"soap:Client", "soap:Sender", "ObjectNotFound", "3"},
		simulator.InvalidParameter: {"soap:Client", "soap:Sender", "InvalidParameter", "7"},
		simulator.SystemError:      {"soap:Server", "soap:Receiver", "SystemError", "11"},
	} {
		t.Run(string(cause), func(t *testing.T) {
			t.Parallel()
			s := newSim(t, simulator.Options{})
			for shape, code := range map[simulator.FaultShape]string{simulator.ShapeCodeName: want.name, simulator.ShapeCodeNumber: want.number} {
				clear := s.Inject(simulator.Fault{Op: "Version", Cause: cause, Shape: shape})
				for v, faultCode := range map[wire]string{v11: want.code11, v12: want.code12} {
					a := v.call(s, "Version")
					if got, _ := a.text("ECGridOSSOAPErrorCode"); got != code {
						t.Errorf("SOAP %s: code %q, want %q", v.name, got, code)
					}
					if got, _ := a.text(v.fault); got != faultCode {
						t.Errorf("SOAP %s: faultcode %q, want %q", v.name, got, faultCode)
					}
				}
				clear()
			}
		})
	}
}

func TestFaultShapeAndCodePerCause(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{
		FaultShapes: map[simulator.Cause]simulator.FaultShape{simulator.SessionDead: simulator.ShapeCodeNumber},
		FaultCodes:  map[simulator.Cause]int{simulator.SessionDead: 77, simulator.LoginRefused: 78},
	})
	if code, _ := soapCall(s, "WhoAmI").text("ECGridOSSOAPErrorCode"); code != "77" {
		t.Errorf("dead session has code %q", code)
	}
	if code, _ := soapCall(s, "Login").text("ErrorCode"); code != "78" {
		t.Errorf("refused login has code %q", code)
	}
}

func TestWSDLAddress(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	for _, query := range []string{"WSDL", "wsdl", "Wsdl="} {
		a := send(s, httptest.NewRequest(http.MethodGet, "http://sim.test:81"+simulator.SOAPPath+"?"+query, nil))
		if a.status != http.StatusOK || !strings.Contains(a.body, `<soap:address location="http://sim.test:81/v4.1/prod/ECGridOS.asmx" />`) {
			t.Errorf("?%s: HTTP %d, or another address", query, a.status)
		}
	}
	a := send(s, httptest.NewRequest(http.MethodGet, "https://sim.test"+simulator.SOAPPath+"?WSDL", nil))
	if !strings.Contains(a.body, `<soap12:address location="https://sim.test/v4.1/prod/ECGridOS.asmx" />`) {
		t.Error("over TLS the address is not https")
	}
}
