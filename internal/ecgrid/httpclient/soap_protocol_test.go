// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"net/http"
	"regexp"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/clienttest"
	"vault-plugin-ecgrid/internal/ecgrid/soap"
)

var soapProtocol = protocol{
	name:      "SOAP",
	path:      "/v4.1/prod/ECGridOS.asmx",
	mediaType: "text/xml",
	connect: func(e ecgrid.Endpoint) (*client, error) {
		c, err := soap.Connect(e)
		if c == nil {
			return nil, err
		}
		return &client{c, c.Client}, err
	},
	requestOf: func(r *http.Request) string { return r.Header.Get("SOAPAction") },
	userOf: func(_ *http.Request, body []byte) string {
		return string(soapUser.FindSubmatch(body)[1])
	},
	operations: inProtocol(map[string]right{
		"Login":          soapRight("Login", "s-1", ecgrid.LoginResult{SessionID: "s-1"}),
		"Logout":         soapRight("Logout", "1200", nil),
		"WhoAmI":         soapRight("WhoAmI", soapSession, soapSessionRead),
		"UserGetAPIKey":  soapRight("UserGetAPIKey", "k-1", "k-1"),
		"GenerateAPIKey": soapRight("GenerateAPIKey", "k-2", "k-2"),
		"ChangePassword": soapRight("ChangePassword", "true", nil),
		"UserList":       soapRight("UserList", soapUserInfo, []ecgrid.User{soapUserRead}),
		"Version":        soapRight("Version", "v4.1 (Build 472)", "v4.1 (Build 472)"),
	}),
	key:         func(key string) string { return soapResponse("UserGetAPIKey", key) },
	users:       func(n int) string { return soapResponse("UserList", strings.Repeat(soapUserInfo, n)) },
	denied:      answer{500, soapFault("<detail><ErrorCode>2</ErrorCode></detail>"), ecgrid.ErrAccessDenied, "code 2"},
	fault:       answer{500, soapFault(""), ecgrid.ErrFault, "no code"},
	malformed:   answer{200, "<soap:Envelope xmlns:soap='" + soapNamespace + "'>", ecgrid.ErrBadAnswer, "not well-formed XML"},
	rateLimited: answer{429, "", ecgrid.ErrUnreachable, "HTTP status 429"},
	maxList:     256 << 20,
}

const (
	soapNamespace = "http://schemas.xmlsoap.org/soap/envelope/"
	soapSession   = "<UserID>5001</UserID><LoginName>jo</LoginName><AuthLevel>NetworkAdmin</AuthLevel>" +
		"<OpenSessions>2</OpenSessions><TimeOut>60</TimeOut><NetworkID>7</NetworkID><MailboxID>8</MailboxID>"
	soapUserInfo = "<UserIDInfo><UserID>5001</UserID><LoginName>jo</LoginName><NetworkID>7</NetworkID>" +
		"<MailboxID>8</MailboxID><AuthLevel>MailboxUser</AuthLevel><Status>Active</Status></UserIDInfo>"
)

var (
	soapUser        = regexp.MustCompile(`<UserID>(\d+)</UserID>`)
	soapSessionRead = ecgrid.Session{
		UserID: 5001, LoginName: "jo", AuthLevel: "NetworkAdmin",
		OpenSessions: clienttest.Int16(2), TimeOut: clienttest.Int16(60), NetworkID: 7, MailboxID: 8,
	}
	soapUserRead = ecgrid.User{
		UserID: 5001, LoginName: "jo", NetworkID: 7, MailboxID: 8, AuthLevel: "MailboxUser", Status: "Active",
	}
)

func soapRight(op, result string, want any) right {
	return right{request: `"https://os.ecgrid.io/` + op + `"`, response: soapResponse(op, result), want: want}
}

func soapResponse(op, result string) string {
	return soapBody("<" + op + `Response xmlns="https://os.ecgrid.io/"><` + op + "Result>" + result + "</" + op + "Result></" + op + "Response>")
}

func soapFault(detail string) string {
	return soapBody("<soap:Fault><faultcode>soap:Client</faultcode><faultstring>" + canaryUpstream + "</faultstring>" + detail + "</soap:Fault>")
}

func soapBody(body string) string {
	return `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="` + soapNamespace + `"><soap:Body>` + body + "</soap:Body></soap:Envelope>"
}
