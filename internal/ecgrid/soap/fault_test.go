// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// meanings is what each code means, taken from the vendor's documents and not from errorCodes.
var meanings = map[string]error{
	"Authentication":    ecgrid.ErrAuthentication,
	"Authorization":     ecgrid.ErrAccessDenied,
	"AccessDenied":      ecgrid.ErrAccessDenied,
	"ObjectNotFound":    ecgrid.ErrNotFound,
	"NotFound":          ecgrid.ErrNotFound,
	"InvalidID":         ecgrid.ErrNotFound,
	"SessionTimeout":    ecgrid.ErrSessionExpired,
	"InvalidParameter":  ecgrid.ErrFault,
	"InvalidDataType":   ecgrid.ErrFault,
	"InvalidDataLength": ecgrid.ErrFault,
	"Duplicate":         ecgrid.ErrFault,
	"IDExistsOnNetwork": ecgrid.ErrFault,
	"Unknown":           ecgrid.ErrFault,
	"Success":           ecgrid.ErrFault,
	"SystemError":       ecgrid.ErrServerFault,
	"InternalError":     ecgrid.ErrServerFault,
	"SQLError":          ecgrid.ErrServerFault,
	"DataError":         ecgrid.ErrServerFault,

	"0": ecgrid.ErrFault, "1": ecgrid.ErrSessionExpired, "2": ecgrid.ErrAccessDenied, "3": ecgrid.ErrNotFound,
	"4": ecgrid.ErrNotFound, "5": ecgrid.ErrSessionExpired, "6": ecgrid.ErrFault, "7": ecgrid.ErrFault,
	"8": ecgrid.ErrFault, "9": ecgrid.ErrServerFault, "10": ecgrid.ErrServerFault, "11": ecgrid.ErrServerFault,
	"12": ecgrid.ErrFault, "99999": ecgrid.ErrFault,
}

// shapes are the places of a code in the detail of a fault.
var shapes = map[string]string{
	"details":            "<details><ErrorCode>%</ErrorCode><ErrorString>" + canaryUpstream + "</ErrorString><ErrorItem/><ErrorMessage/></details>",
	"ErrorInfo":          "<ErrorInfo><ErrorString>x</ErrorString><ErrorCode>%</ErrorCode></ErrorInfo>",
	"directly":           "<ErrorCode>%</ErrorCode><ErrorString>" + canaryUpstream + "</ErrorString>",
	"any child":          "<x:y xmlns:x='urn:x'><ErrorCode>%</ErrorCode></x:y>",
	"ECGrid's namespace": "<details xmlns='https://os.ecgrid.io/'><ErrorCode>%</ErrorCode></details>",
	"own element":        "<ECGridOSSOAPErrorCode>%</ECGridOSSOAPErrorCode>",
	"own, in namespace":  "<e:ECGridOSSOAPErrorCode xmlns:e='https://os.ecgrid.io/'>%</e:ECGridOSSOAPErrorCode>",
	"own, deep":          "<a><b/><b><c><ECGridOSSOAPErrorCode>%</ECGridOSSOAPErrorCode></c></b></a>",
	"white space":        "\n <details>\n  <ErrorCode>\r\n % </ErrorCode>\n</details>\n",
	"CDATA":              "<details><ErrorCode><![CDATA[%]]></ErrorCode></details>",
	"comment":            "<details><!-- x --><ErrorCode><!-- y -->%</ErrorCode></details>",
	"text around":        "text <details>text<ErrorCode>%</ErrorCode>text</details> text",
	"empty one first":    "<ErrorCode/><ECGridOSSOAPErrorCode>%</ECGridOSSOAPErrorCode>",
	"unknown one first":  "<ErrorCode>4711</ErrorCode><ECGridOSSOAPErrorCode>%</ECGridOSSOAPErrorCode>",
	"another after it":   "<ErrorCode>%</ErrorCode><ErrorCode>x</ErrorCode>",
}

func TestFaultCodes(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for code, kind := range meanings {
				if _, known := classifyCode(code); !known && strings.Contains(shape, "4711") {
					continue
				}
				for blame, isServer := range map[string]bool{"soap:Client": false, "soap:Server": true} {
					want := kind
					if kind == ecgrid.ErrServerFault && !isServer { // otherwise the code decides
						want = ecgrid.ErrFault
					}
					body := soapFault(blame, "<detail>"+strings.ReplaceAll(shape, "%", code)+"</detail>")
					err := parseBody("Version", body, into(new(string), (*parser).text))
					var f *httpclient.Failure
					if !errors.As(err, &f) || f.Kind != want || f.Reason != "code "+code || f.Transient {
						t.Errorf("%s, %s: got %+v, want %v", code, blame, f, want)
					}
				}
			}
		})
	}
}

// A fault is a server fault only if nothing in it says otherwise. For a Login, any other fault
// is a refusal, which must not be retried at will.
func TestServerFaultOnlyIfNothingBlamesTheClient(t *testing.T) {
	t.Parallel()
	serverCode := []string{"9", "10", "11", "DataError", "SQLError", "InternalError", "SystemError"}
	blames := map[string]bool{
		"soap:Server": true, "soap:Server.Busy": true, "soap:Receiver": true,
		"soap:Client": false, "soap:Client.Server": false, "soap:Sender": false, "soap:VersionMismatch": false,
		"soap:MustUnderstand": false, canaryUpstream: false, "": false,
	}
	for blame, isServer := range blames {
		t.Run(blame, func(t *testing.T) {
			t.Parallel()
			want := ecgrid.ErrFault
			if isServer {
				want = ecgrid.ErrServerFault
			}
			for _, code := range serverCode {
				for _, element := range []string{"ErrorCode", "ErrorString", "ECGridOSSOAPErrorCode"} {
					body := soapFault(blame, "<detail><"+element+">"+code+"</"+element+"></detail>")
					_, err := serve(t, respondWith(500, body)).Login(t.Context(), "jo", canaryPassword)
					wantFailure(t, err, want)
				}
			}
			_, err := serve(t, respondWith(500, soapFault(blame, "<detail/>"))).Login(t.Context(), "jo", canaryPassword)
			wantFailure(t, err, want)
			_, err = serve(t, respondWith(500, soapFault(blame, "<detail><ErrorCode>77</ErrorCode></detail>"))).Login(t.Context(), "jo", canaryPassword)
			wantFailure(t, err, ecgrid.ErrFault)
		})
	}
}

// A fault that blames both sides is not a server fault.
func TestTwoFaultCodes(t *testing.T) {
	t.Parallel()
	for _, codes := range [][2]string{{"soap:Client", "soap:Server"}, {"soap:Server", "soap:Client"}} {
		body := soapBody("<soap:Fault><faultcode>" + codes[0] + "</faultcode><faultcode>" + codes[1] + "</faultcode></soap:Fault>")
		_, err := serve(t, respondWith(500, body)).Version(t.Context())
		wantFailure(t, err, ecgrid.ErrFault)
	}
}

// The number and the name of an error code count equally.
func TestErrorStringBesideErrorCode(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		detail string
		kind   error
	}{
		"name alone":            {"<ErrorString>SessionTimeout</ErrorString>", ecgrid.ErrSessionExpired},
		"unknown number":        {"<ErrorCode>77</ErrorCode><ErrorString>AccessDenied</ErrorString>", ecgrid.ErrAccessDenied},
		"unknown number, after": {"<ErrorString>NotFound</ErrorString><ErrorCode>77</ErrorCode>", ecgrid.ErrNotFound},
		"number no number":      {"<ErrorCode>" + canaryUpstream + "</ErrorCode><ErrorString>InternalError</ErrorString>", ecgrid.ErrServerFault},
		"prose beside a number": {"<ErrorCode>3</ErrorCode><ErrorString>Not found</ErrorString>", ecgrid.ErrNotFound},
		"both agree":            {"<ErrorCode>1</ErrorCode><ErrorString>SessionTimeout</ErrorString>", ecgrid.ErrSessionExpired},
		"both mean the same":    {"<ErrorCode>3</ErrorCode><ErrorString>InvalidID</ErrorString>", ecgrid.ErrNotFound},
		"conflict":              {"<ErrorCode>1</ErrorCode><ErrorString>AccessDenied</ErrorString>", ecgrid.ErrFault},
		"conflict, other order": {"<ErrorString>AccessDenied</ErrorString><ErrorCode>1</ErrorCode>", ecgrid.ErrFault},
		"conflict about 5":      {"<ErrorCode>5</ErrorCode><ErrorString>Duplicate</ErrorString>", ecgrid.ErrFault},
		"server and not found":  {"<ErrorCode>11</ErrorCode><ErrorString>NotFound</ErrorString>", ecgrid.ErrFault},
		"success":               {"<ErrorCode>3</ErrorCode><ErrorString>Success</ErrorString>", ecgrid.ErrFault},
		"of three, one differs": {"<ErrorCode>3</ErrorCode><ErrorString>NotFound</ErrorString><ECGridOSSOAPErrorCode>Authentication</ECGridOSSOAPErrorCode>", ecgrid.ErrFault},
		"two details":           {"<ErrorCode>1</ErrorCode></detail><detail><ErrorCode>2</ErrorCode>", ecgrid.ErrFault},
		"both unknown":          {"<ErrorCode>77</ErrorCode><ErrorString>" + canaryUpstream + "</ErrorString>", ecgrid.ErrFault},
		"unknown name alone":    {"<ErrorString>" + canaryUpstream + "</ErrorString>", ecgrid.ErrFault},
		"message counts not":    {"<ErrorMessage>AccessDenied</ErrorMessage>", ecgrid.ErrServerFault},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := soapFault("soap:Server", "<detail>"+test.detail+"</detail>")
			_, err := serve(t, respondWith(500, body)).UserGetAPIKey(t.Context(), session, 5001)
			wantFailure(t, err, test.kind)
		})
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	t.Parallel()
	for _, op := range allOps {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for code, kind := range meanings {
				calls := 0
				body := soapFault("soap:Server", "<detail><details><ErrorCode>"+code+"</ErrorCode></details></detail>")
				c := serve(t, func(w http.ResponseWriter, r *http.Request) { calls++; respondWith(500, body)(w, r) })
				_, err := op.call(t.Context(), c)
				if e := wantFailure(t, err, kind); e.Op != op.name || !e.Sent || e.Reason != "code "+code || calls != 1 {
					t.Errorf("%s: got %+v after %d calls", code, e, calls)
				}
			}
		})
	}
}

func TestFaultsWithoutKnownCode(t *testing.T) {
	t.Parallel()
	wrap12 := func(s string) string {
		return `<e:Envelope xmlns:e="` + nsSOAP12 + `"><e:Body>` + s + `</e:Body></e:Envelope>`
	}
	for name, test := range map[string]struct {
		body   string
		kind   error
		reason string
	}{
		"client":            {soapFault("soap:Client", ""), ecgrid.ErrFault, "no code"},
		"client, detail":    {soapFault("soap:Client", "<detail/>"), ecgrid.ErrFault, "no code"},
		"server":            {soapFault("soap:Server", ""), ecgrid.ErrServerFault, "no code"},
		"server, detail":    {soapFault("soap:Server", "<detail />"), ecgrid.ErrServerFault, "no code"},
		"other prefix":      {soapFault("x:Server", ""), ecgrid.ErrServerFault, "no code"},
		"no prefix":         {soapFault("Server", ""), ecgrid.ErrServerFault, "no code"},
		"dotted":            {soapFault("soap:Server.Busy", ""), ecgrid.ErrServerFault, "no code"},
		"dotted client":     {soapFault("soap:Client.Server", ""), ecgrid.ErrFault, "no code"},
		"spaced":            {soapFault("\n soap:Server\n", ""), ecgrid.ErrServerFault, "no code"},
		"version mismatch":  {soapFault("soap:VersionMismatch", ""), ecgrid.ErrFault, "no code"},
		"no fault code":     {soapBody("<soap:Fault/>"), ecgrid.ErrFault, "no code"},
		"lying word":        {soapFault(canaryUpstream, ""), ecgrid.ErrFault, "no code"},
		"qualified":         {soapBody("<soap:Fault><soap:faultcode>soap:Server</soap:faultcode></soap:Fault>"), ecgrid.ErrServerFault, "no code"},
		"foreign faultcode": {soapBody("<soap:Fault><faultcode xmlns='urn:x'>soap:Server</faultcode></soap:Fault>"), ecgrid.ErrFault, "no code"},
		"code elsewhere":    {soapFault("soap:Client", "<faultactor><ErrorCode>1</ErrorCode></faultactor>"), ecgrid.ErrFault, "no code"},
		"blank code":        {soapFault("soap:Server", "<detail><ErrorCode> </ErrorCode></detail>"), ecgrid.ErrServerFault, "no code"},
		"unknown name":      {soapFault("soap:Server", "<detail><ErrorCode>"+canaryUpstream+"</ErrorCode></detail>"), ecgrid.ErrFault, "unknown code"},
		"other case":        {soapFault("soap:Client", "<detail><ErrorCode>sessiontimeout</ErrorCode></detail>"), ecgrid.ErrFault, "unknown code"},
		"unknown number":    {soapFault("soap:Server", "<detail><ErrorCode>4711</ErrorCode></detail>"), ecgrid.ErrFault, "code 4711"},
		"long number":       {soapFault("soap:Client", "<detail><ErrorCode>123456</ErrorCode></detail>"), ecgrid.ErrFault, "unknown code"},
		"huge number":       {soapFault("soap:Client", "<detail><ErrorCode>"+strings.Repeat("9", 50)+"</ErrorCode></detail>"), ecgrid.ErrFault, "unknown code"},
		"negative":          {soapFault("soap:Client", "<detail><ErrorCode>-1</ErrorCode></detail>"), ecgrid.ErrFault, "unknown code"},
		"long text":         {soapFault("soap:Client", "<detail><ErrorCode>"+strings.Repeat("1 ", 1000)+"</ErrorCode></detail>"), ecgrid.ErrFault, "unknown code"},
		"split":             {soapFault("soap:Client", "<detail><ErrorCode>1<x/>2</ErrorCode></detail>"), ecgrid.ErrFault, "no code"},
		"text after it":     {soapFault("soap:Client", "<detail><details><ErrorCode/>1</details></detail>"), ecgrid.ErrFault, "no code"},
		"namesake":          {soapFault("soap:Client", "<detail><TheErrorCode>1</TheErrorCode></detail>"), ecgrid.ErrFault, "no code"},
		"SOAP 1.2":          {wrap12("<e:Fault><e:Code><e:Value>e:Receiver</e:Value><e:Subcode><e:Value>x</e:Value></e:Subcode></e:Code><e:Reason><e:Text>" + canaryUpstream + "</e:Text></e:Reason></e:Fault>"), ecgrid.ErrServerFault, "no code"},
		"SOAP 1.2, sender":  {wrap12("<e:Fault><e:Code><e:Value>e:Sender</e:Value></e:Code></e:Fault>"), ecgrid.ErrFault, "no code"},
		"SOAP 1.2, code":    {wrap12("<e:Fault><e:Code><e:Value>e:Sender</e:Value></e:Code><e:Detail><ErrorCode>1</ErrorCode></e:Detail></e:Fault>"), ecgrid.ErrSessionExpired, "code 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := serve(t, respondWith(500, test.body)).Login(t.Context(), "jo", canaryPassword)
			if e := wantFailure(t, err, test.kind); e.Reason != test.reason {
				t.Errorf("got %q, want %q", e.Reason, test.reason)
			}
		})
	}
}

// reasons are all phrases of the parser.
var reasons = map[string]bool{
	"not XML": true, "not a SOAP envelope": true, "no SOAP body": true, "empty SOAP body": true, "more than one response": true,
	"not a response to this call": true, "more than one result": true, "data after the response": true,
	"processing instruction": true, "DTD": true, "nested too deeply": true, "text between elements": true,
	"element inside text": true, httpclient.TooLarge: true, "incomplete response": true, "duplicate field": true, "missing field": true,
	invalidValue: true, noCode: true, unknownCode: true, contradictoryCodes: true,
	unexpectedElement: true, nilNotEmpty: true, "credential with spaces or control characters": true,
}

func isOurReason(reason string) bool {
	code, isCode := strings.CutPrefix(reason, "code ")
	if !isCode {
		return reasons[reason]
	}
	if n, err := strconv.Atoi(code); err == nil {
		return n >= 0 && n <= 99999
	}
	return meanings[code] != nil
}

func FuzzFault(f *testing.F) {
	for _, shape := range shapes {
		f.Add("soap:Client", strings.ReplaceAll(shape, "%", "SessionTimeout"))
		f.Add("soap:Server", strings.ReplaceAll(shape, "%", "5"))
	}
	f.Add("Server", canaryUpstream)
	f.Add("Server", "<ErrorCode>77</ErrorCode><ErrorString>AccessDenied</ErrorString>")
	f.Add("Client", "<ErrorCode>1</ErrorCode><ErrorString>AccessDenied</ErrorString>")
	f.Fuzz(func(t *testing.T, blame, detail string) {
		err := parseBody("Version", soapFault(blame, "<detail>"+detail+"</detail>"), into(new(string), (*parser).text))
		if err == nil {
			t.Fatal("a fault was taken for a result")
		}
		var fail *httpclient.Failure
		if errors.As(err, &fail) && !isOurReason(fail.Reason) {
			t.Fatal("a reason that is not ours")
		}
	})
}
