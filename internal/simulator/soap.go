// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"io"
	"mime"
	"net/http"
	"strings"
)

const xsi = "http://www.w3.org/2001/XMLSchema-instance"

// soapVersion has the differences between SOAP 1.1 and 1.2.
type soapVersion struct {
	contentType string
	envelope    string // namespace
	writeFault  func(*xmlWriter, *soapFault)
}

var (
	soap11 = &soapVersion{"text/xml", "http://schemas.xmlsoap.org/soap/envelope/", writeFault11}
	soap12 = &soapVersion{"application/soap+xml", "http://www.w3.org/2003/05/soap-envelope", writeFault12}

	soapVersions = map[string]*soapVersion{soap11.contentType: soap11, soap12.contentType: soap12}
)

func (s *Simulator) serveSOAP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.EqualFold(strings.TrimSuffix(r.URL.RawQuery, "="), "wsdl") {
		s.serveWSDL(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "Request format is not supported: POST a SOAP envelope, or GET ?WSDL.", http.StatusMethodNotAllowed)
		return
	}
	version, action := soapContentType(r.Header)
	if version == nil {
		http.Error(w, "Server cannot process request because the content type is not supported: use text/xml or application/soap+xml, in utf-8.", http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		http.Error(w, "Maximum request length exceeded, or the request broke off.", http.StatusRequestEntityTooLarge)
		return
	}
	op, args, fault := version.read(action, body)
	if fault != nil {
		s.refuseRequest(w, version, fault)
		return
	}
	ip := s.opts.ClientIP(r) // once: each call may return another one
	s.handle(w, r, &request{
		op: op.name, transport: TransportSOAP, sessionID: args["SessionID"], login: args["LoginName"], ip: ip, echo: body,
		apply: func(l timing) *reply { return s.applySOAP(version, op, &soapCall{args: args, ip: ip, timing: l}) },
		fault: func(cause Cause, f Fault) *reply { return version.fault(s.ecgridFault(cause, f)) },
	})
}

// refuseRequest answers a request that violates the WSDL.
func (s *Simulator) refuseRequest(w http.ResponseWriter, v *soapVersion, fault *soapFault) {
	s.countBadRequest()
	v.fault(fault).send(w)
}

func (s *Simulator) countBadRequest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.badRequests++
}

// soapContentType returns the SOAP version and the action. SOAP 1.1 has the action in a
// header, SOAP 1.2 may have it in the content type. The version is nil for other content
// types.
func soapContentType(h http.Header) (*soapVersion, string) {
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return nil, ""
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, ""
	}
	version := soapVersions[media]
	if version == soap12 {
		return version, params["action"]
	}
	return version, h.Get("SOAPAction")
}

// read returns the operation and its arguments, or the fault that refuses the request.
func (v *soapVersion) read(action string, body []byte) (*operation, map[string]string, *soapFault) {
	routed, fault := v.route(action)
	if fault != nil {
		return nil, nil, fault
	}
	root, err := parseXML(body)
	if err != nil {
		return nil, nil, unreadableFault("%v", err)
	}
	content, fault := v.bodyOf(root)
	if fault != nil {
		return nil, nil, fault
	}
	op := operationByName(content.name.Local)
	if content.name.Space != Namespace || op == nil || (routed != nil && op != routed) {
		return nil, nil, unreadableFault("System.InvalidOperationException: <%s xmlns='%s'> was not expected.", content.name.Local, content.name.Space)
	}
	args, err := readFields(content, op.in)
	if err != nil {
		return nil, nil, unreadableFault("%v", err)
	}
	return op, args, nil
}

// route returns the operation of an action, or nil if SOAP 1.2 omits the action.
func (v *soapVersion) route(action string) (*operation, *soapFault) {
	if v == soap12 && action == "" {
		return nil, nil
	}
	if action == "" {
		return nil, clientFault("Unable to handle request without a valid action parameter. Please supply a valid soap action.")
	}
	name, ok := strings.CutPrefix(action, Namespace)
	if v == soap11 {
		name, ok = unquote(action)
	}
	op := operationByName(name)
	if !ok || op == nil {
		return nil, clientFault("Server did not recognize the value of HTTP Header SOAPAction.")
	}
	return op, nil
}

func unquote(action string) (string, bool) {
	name, opened := strings.CutPrefix(action, `"`+Namespace)
	name, closed := strings.CutSuffix(name, `"`)
	return name, opened && closed
}

// bodyOf returns the one element in an envelope's Body.
func (v *soapVersion) bodyOf(root *node) (*node, *soapFault) {
	if root.name.Local != "Envelope" {
		return nil, unreadableFault("System.InvalidOperationException: the root element is not a SOAP envelope.")
	}
	if root.name.Space != v.envelope {
		return nil, &soapFault{code: "VersionMismatch", reason: "System.Web.Services.Protocols.SoapException: Possible SOAP version mismatch: the envelope's namespace is not that of " + v.contentType + "."}
	}
	parts := root.children
	if len(parts) > 0 && parts[0].is(v.envelope, "Header") {
		if fault := v.checkHeader(parts[0]); fault != nil {
			return nil, fault
		}
		parts = parts[1:]
	}
	if len(parts) != 1 || !parts[0].is(v.envelope, "Body") || len(parts[0].children) != 1 {
		return nil, unreadableFault("System.InvalidOperationException: an envelope holds one Body, and that one element.")
	}
	return parts[0].children[0], nil
}

// checkHeader refuses headers that must be understood: none is.
func (v *soapVersion) checkHeader(header *node) *soapFault {
	for _, h := range header.children {
		if must := h.attr(v.envelope, "mustUnderstand"); must == "1" || must == "true" {
			return &soapFault{code: "MustUnderstand", reason: "System.Web.Services.Protocols.SoapHeaderException: SOAP header was not understood."}
		}
	}
	return nil
}

// applySOAP applies an operation. The simulator is locked except while a late change
// waits, so that tests never see half an operation.
func (s *Simulator) applySOAP(v *soapVersion, op *operation, c *soapCall) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	result, cause := op.run(s, c)
	if cause != "" {
		refusal := v.fault(s.ecgridFault(cause, Fault{}))
		refusal.cause = cause
		return refusal
	}
	return v.result(op, result)
}

func (v *soapVersion) result(op *operation, result value) *reply {
	return v.wrap(http.StatusOK, func(x *xmlWriter) {
		name := op.name + "Response"
		x.open(name, "xmlns", Namespace)
		writeResult(x, op.out, result)
		x.close(name)
	})
}

func writeResult(x *xmlWriter, out field, result value) {
	switch {
	case result.list != nil:
		x.open(out.name)
		for r := range result.list {
			writeRecord(x, "UserIDInfo", "UserIDInfo", r)
		}
		x.close(out.name)
	case result.one != nil:
		writeRecord(x, out.name, out.typ, result.one)
	case result.text != "":
		x.text(out.name, result.text)
	}
}

// writeRecord writes the elements in the type's order.
func writeRecord(x *xmlWriter, name, typ string, r record) {
	x.open(name)
	for _, f := range fieldsOf(typ) {
		if text, ok := r[f.name]; ok {
			x.text(f.name, text)
		}
	}
	x.close(name)
}

// fault answers HTTP 500, as .asmx does for every fault.
func (v *soapVersion) fault(f *soapFault) *reply {
	return v.wrap(http.StatusInternalServerError, func(x *xmlWriter) {
		x.open("soap:Fault")
		v.writeFault(x, f)
		x.close("soap:Fault")
	})
}

func (v *soapVersion) wrap(status int, content func(*xmlWriter)) *reply {
	x := &xmlWriter{}
	x.WriteString(`<?xml version="1.0" encoding="utf-8"?>`)
	x.open("soap:Envelope", "xmlns:soap", v.envelope, "xmlns:xsi", xsi, "xmlns:xsd", "http://www.w3.org/2001/XMLSchema")
	x.open("soap:Body")
	content(x)
	x.close("soap:Body")
	x.close("soap:Envelope")
	return &reply{status: status, contentType: v.contentType + "; charset=utf-8", body: x.Bytes()}
}

func writeFault11(x *xmlWriter, f *soapFault) {
	x.text("faultcode", "soap:"+f.code)
	x.text("faultstring", f.reason)
	writeDetail(x, "detail", f)
}

// codes12 are the fault codes with another name in SOAP 1.2.
var codes12 = map[string]string{"Client": "Sender", "Server": "Receiver"}

func writeFault12(x *xmlWriter, f *soapFault) {
	code := f.code
	if renamed, ok := codes12[code]; ok {
		code = renamed
	}
	x.open("soap:Code")
	x.text("soap:Value", "soap:"+code)
	x.close("soap:Code")
	x.open("soap:Reason")
	x.open("soap:Text", "xml:lang", "en")
	x.escape(f.reason)
	x.close("soap:Text")
	x.close("soap:Reason")
	writeDetail(x, "soap:Detail", f)
}

func writeDetail(x *xmlWriter, name string, f *soapFault) {
	inner := &xmlWriter{}
	if f.detail != nil {
		f.detail(inner)
	}
	if inner.Len() == 0 {
		x.empty(name)
		return
	}
	x.open(name)
	x.Write(inner.Bytes())
	x.close(name)
}
