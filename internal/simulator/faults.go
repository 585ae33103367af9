// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"fmt"
)

// Cause is why ECGrid refuses a call.
type Cause string

// The causes. Each can have every FaultShape. RateLimited is only in Call.Refused, for
// Options.RateLimit: SOAP has no fault for it. See AnswerStatus for a 429 on demand.
const (
	SessionDead      Cause = "session-dead"
	LoginRefused     Cause = "login-refused"
	AccessDenied     Cause = "access-denied"
	NotFound         Cause = "not-found"
	InvalidParameter Cause = "invalid-parameter"
	SystemError      Cause = "system-error"
	RateLimited      Cause = "rate-limited"
)

// FaultShape is the form of a SOAP fault's detail. Each is documented, or expected by the
// vendor's own client code.
type FaultShape string

// The shapes of a fault's detail.
const (
	ShapeDetails    FaultShape = "details"     // <detail><details><ErrorCode>… (older docs)
	ShapeErrorInfo  FaultShape = "error-info"  // <detail><ErrorInfo><ErrorCode>… (client code)
	ShapeDirect     FaultShape = "direct"      // <detail><ErrorCode>…
	ShapeAnyChild   FaultShape = "any-child"   // <detail><anything><ErrorCode>… (client code)
	ShapeCodeName   FaultShape = "code-name"   // <detail><ECGridOSSOAPErrorCode>Authentication (newer docs)
	ShapeCodeNumber FaultShape = "code-number" // the same element with a number (newer docs)
	ShapeEmpty      FaultShape = "empty"       // <detail />, as ASP.NET's own faults
)

// FaultShapes and FaultCauses are for tests that try all of them.
var (
	FaultShapes = []FaultShape{ShapeDetails, ShapeErrorInfo, ShapeDirect, ShapeAnyChild, ShapeCodeName, ShapeCodeNumber, ShapeEmpty}
	FaultCauses = []Cause{SessionDead, LoginRefused, AccessDenied, NotFound, InvalidParameter, SystemError}
)

// errorInfo is what a fault says about a cause. The numbers count the RetCode names of
// the WSDL. For a dead session, 5 is documented as ECGridOSSOAPErrorCode.
type errorInfo struct {
	code     int    // ErrorCode
	soapCode int    // ECGridOSSOAPErrorCode as a number; 0 is the same as code
	retCode  string // ErrorString
	name     string // ECGridOSSOAPErrorCode as a name
	item     string // ErrorItem
	message  string
	server   bool // faultcode soap:Server
}

var errorInfos = map[Cause]errorInfo{
	SessionDead:      {code: 1, soapCode: 5, retCode: "SessionTimeout", name: "Authentication", item: "SessionID", message: "Invalid SessionID"},
	LoginRefused:     {code: 2, retCode: "AccessDenied", name: "Authentication", item: "LoginName", message: "Login failed"},
	AccessDenied:     {code: 2, retCode: "AccessDenied", name: "Authorization", item: "UserID", message: "Access denied"},
	NotFound:         {code: 3, retCode: "NotFound", name: "ObjectNotFound", item: "UserID", message: "Not found"},
	InvalidParameter: {code: 7, retCode: "InvalidDataType", name: "InvalidParameter", item: "NewPassword", message: "Invalid parameter"},
	SystemError:      {code: 11, retCode: "InternalError", name: "SystemError", item: "", message: "Internal error", server: true},
}

// soapFault is a fault of either SOAP version.
type soapFault struct {
	code   string // Client, Server, VersionMismatch or MustUnderstand
	reason string
	detail func(*xmlWriter) // nil is an empty detail
}

// clientFault is a fault of ASP.NET itself, with an empty detail.
func clientFault(format string, a ...any) *soapFault {
	return &soapFault{code: "Client", reason: "System.Web.Services.Protocols.SoapException: " + fmt.Sprintf(format, a...)}
}

// unreadableFault is how ASP.NET refuses a request that it cannot deserialize.
func unreadableFault(format string, a ...any) *soapFault {
	return clientFault("Server was unable to read request. ---> System.InvalidOperationException: There is an error in the XML document. ---> %s", fmt.Sprintf(format, a...))
}

// ecgridFault is a fault of ECGrid.
func (s *Simulator) ecgridFault(cause Cause, f Fault) *soapFault {
	why := errorInfos[cause]
	if n := cmp.Or(f.Code, s.opts.FaultCodes[cause]); n != 0 {
		why.code, why.soapCode = n, n
	}
	why.message = cmp.Or(f.Message, why.message)
	code := "Client"
	if why.server {
		code = "Server"
	}
	shape := cmp.Or(f.Shape, s.opts.FaultShapes[cause], s.opts.FaultShape)
	return &soapFault{code: code, reason: why.message, detail: func(x *xmlWriter) { detailWriters[shape](x, why) }}
}

// detailWriters write one shape each. It is not documented whether the children have a
// namespace, so some have one here.
var detailWriters = map[FaultShape]func(*xmlWriter, errorInfo){
	ShapeDetails: func(x *xmlWriter, r errorInfo) {
		x.open("details", "xmlns", Namespace)
		errorFields(x, r)
		x.close("details")
	},
	ShapeErrorInfo: func(x *xmlWriter, r errorInfo) { x.open("ErrorInfo"); errorFields(x, r); x.close("ErrorInfo") },
	ShapeDirect:    errorFields,
	ShapeAnyChild: func(x *xmlWriter, r errorInfo) {
		x.open("e:Anything", "xmlns:e", "urn:anything")
		errorFields(x, r)
		x.close("e:Anything")
	},
	ShapeCodeName:   func(x *xmlWriter, r errorInfo) { x.text("ECGridOSSOAPErrorCode", r.name) },
	ShapeCodeNumber: func(x *xmlWriter, r errorInfo) { x.text("ECGridOSSOAPErrorCode", itoa(cmp.Or(r.soapCode, r.code))) },
	ShapeEmpty:      func(*xmlWriter, errorInfo) {},
}

func errorFields(x *xmlWriter, r errorInfo) {
	x.text("ErrorCode", itoa(r.code))
	x.text("ErrorString", r.retCode)
	x.text("ErrorItem", r.item)
	x.text("ErrorMessage", r.message)
}
