// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/clienttest"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// TestMain discards what net/http logs about unsolicited responses, as the plugin does.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

// Shared with the other clients.
const (
	canarySession  = clienttest.CanarySession
	canaryPassword = clienttest.CanaryPassword
	canaryUpstream = clienttest.CanaryUpstream
)

var wantFailure = clienttest.WantFailure

var session = ecgrid.Credential{Value: canarySession}

// response wraps the content of <OpResponse> as .asmx does.
func response(op, result string) string {
	return soapBody(`<` + op + `Response xmlns="https://os.ecgrid.io/">` + result + `</` + op + `Response>`)
}

func soapBody(body string) string {
	return `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">` +
		`<soap:Body>` + body + `</soap:Body></soap:Envelope>`
}

func soapFault(code, detail string) string {
	return soapBody(`<soap:Fault><faultcode>` + code + `</faultcode><faultstring>` + canaryUpstream + `</faultstring>` + detail + `</soap:Fault>`)
}

// respondWith returns a handler that always sends the same response.
func respondWith(status int, body string) http.HandlerFunc {
	return clienttest.RespondWith("text/xml; charset=utf-8", status, body)
}

// strict answers each operation as in the WSDL. It refuses a request that is not exactly as
// expected.
func strict(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	for _, op := range allOps {
		want := `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">` +
			`<soap:Body><` + op.name + ` xmlns="https://os.ecgrid.io/">` + op.request + `</` + op.name + `></soap:Body></soap:Envelope>`
		if r.Method == "POST" && r.Header.Get("SOAPAction") == `"https://os.ecgrid.io/`+op.name+`"` &&
			r.Header.Get("Content-Type") == "text/xml; charset=utf-8" && string(body) == want {
			respondWith(200, response(op.name, op.result))(w, r)
			return
		}
	}
	http.Error(w, "not a request of the WSDL", http.StatusBadRequest)
}

// serve returns a client of an HTTP server of its own. The client does not wait between
// attempts.
func serve(t testing.TB, h http.HandlerFunc) *Client {
	t.Helper()
	return serveFor(t, 0, h)
}

// serveFor is serve with another timeout.
func serveFor(t testing.TB, timeout time.Duration, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := Connect(ecgrid.Endpoint{URL: s.URL + "/v4.1/prod/ECGridOS.asmx", RequestTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	c.Sleep = clienttest.NoSleep
	t.Cleanup(c.Close)
	return c
}

// parseBody parses a response to op, without HTTP.
func parseBody(op, body string, parseResult func(*parser) error) error {
	in := newBoundedReader(strings.NewReader(body), httpclient.MaxSmallBody)
	defer in.release()
	return newParser(in).parse(op, true, parseResult)
}

// into returns a function that parses a result and stores it in to.
func into[T any](to *T, parse func(*parser) (T, error)) func(*parser) error {
	return func(p *parser) (err error) {
		*to, err = parse(p)
		return err
	}
}
