package simulator

import (
	"cmp"
	"fmt"
)

// Cause is why ECGrid refuses a call.
type Cause string

// The causes; each comes in every FaultShape.
const (
	SessionDead      Cause = "session-dead"
	LoginRefused     Cause = "login-refused"
	AccessDenied     Cause = "access-denied"
	NotFound         Cause = "not-found"
	InvalidParameter Cause = "invalid-parameter"
	SystemError      Cause = "system-error"
)

// FaultShape is what the detail of a SOAP fault looks like. All of them are
// documented somewhere, or assumed by the vendor's own client code.
type FaultShape string

// The shapes of a fault's detail.
const (
	ShapeDetails    FaultShape = "details"     // <detail><details><ErrorCode>… (older docs)
	ShapeErrorInfo  FaultShape = "error-info"  // <detail><ErrorInfo><ErrorCode>… (client code)
	ShapeDirect     FaultShape = "direct"      // <detail><ErrorCode>…
	ShapeAnyChild   FaultShape = "any-child"   // <detail><anything><ErrorCode>… (client code)
	ShapeCodeName   FaultShape = "code-name"   // <detail><ECGridOSSOAPErrorCode>Authentication (newer docs)
	ShapeCodeNumber FaultShape = "code-number" // the same element, holding a number (newer docs)
	ShapeEmpty      FaultShape = "empty"       // <detail />, as ASP.NET's own faults
)

// FaultShapes are all shapes, FaultCauses all causes, for tests that go through
// every pair.
var (
	FaultShapes = []FaultShape{ShapeDetails, ShapeErrorInfo, ShapeDirect, ShapeAnyChild, ShapeCodeName, ShapeCodeNumber, ShapeEmpty}
	FaultCauses = []Cause{SessionDead, LoginRefused, AccessDenied, NotFound, InvalidParameter, SystemError}
)

// reason is how one cause is told. The numbers are those of the WSDL's RetCode
// names in order; 5 for a dead session in ECGridOSSOAPErrorCode is documented.
type reason struct {
	code     int    // ErrorCode
	soapCode int    // ECGridOSSOAPErrorCode as a number; 0 is the same as code
	retCode  string // ErrorString
	name     string // ECGridOSSOAPErrorCode as a name
	item     string // ErrorItem
	message  string
	server   bool // faultcode soap:Server
}

var reasons = map[Cause]reason{
	SessionDead:      {code: 1, soapCode: 5, retCode: "SessionTimeout", name: "Authentication", item: "SessionID", message: "Invalid SessionID"},
	LoginRefused:     {code: 2, retCode: "AccessDenied", name: "Authentication", item: "LoginName", message: "Login failed"},
	AccessDenied:     {code: 2, retCode: "AccessDenied", name: "Authorization", item: "UserID", message: "Access denied"},
	NotFound:         {code: 3, retCode: "NotFound", name: "ObjectNotFound", item: "UserID", message: "Not found"},
	InvalidParameter: {code: 7, retCode: "InvalidDataType", name: "InvalidParameter", item: "NewPassword", message: "Invalid parameter"},
	SystemError:      {code: 11, retCode: "InternalError", name: "SystemError", item: "", message: "Internal error", server: true},
}

// soapFault is one fault, before it is written in either SOAP version.
type soapFault struct {
	code   string // Client, Server, VersionMismatch or MustUnderstand
	reason string
	detail func(*xmlWriter) // nil is an empty detail
}

// clientFault is a fault of ASP.NET itself: an empty detail.
func clientFault(format string, a ...any) *soapFault {
	return &soapFault{code: "Client", reason: "System.Web.Services.Protocols.SoapException: " + fmt.Sprintf(format, a...)}
}

// unreadable is how ASP.NET refuses what its deserializer cannot take.
func unreadable(format string, a ...any) *soapFault {
	return clientFault("Server was unable to read request. ---> System.InvalidOperationException: There is an error in the XML document. ---> %s", fmt.Sprintf(format, a...))
}

// ecgridFault is a fault of ECGrid's own.
func (s *Simulator) ecgridFault(cause Cause, f Fault) *soapFault {
	why := reasons[cause]
	if n := cmp.Or(f.Code, s.opts.FaultCodes[cause]); n != 0 {
		why.code, why.soapCode = n, n
	}
	why.message = cmp.Or(f.Message, why.message)
	code := "Client"
	if why.server {
		code = "Server"
	}
	shape := cmp.Or(f.Shape, s.opts.FaultShapes[cause], s.opts.FaultShape)
	return &soapFault{code: code, reason: why.message, detail: func(x *xmlWriter) { details[shape](x, why) }}
}

// details writes one shape each. Whether the real children have a namespace is
// not documented, so some do here and some do not.
var details = map[FaultShape]func(*xmlWriter, reason){
	ShapeDetails: func(x *xmlWriter, r reason) {
		x.open("details", "xmlns", Namespace)
		errorFields(x, r)
		x.close("details")
	},
	ShapeErrorInfo: func(x *xmlWriter, r reason) { x.open("ErrorInfo"); errorFields(x, r); x.close("ErrorInfo") },
	ShapeDirect:    errorFields,
	ShapeAnyChild: func(x *xmlWriter, r reason) {
		x.open("e:Anything", "xmlns:e", "urn:anything")
		errorFields(x, r)
		x.close("e:Anything")
	},
	ShapeCodeName:   func(x *xmlWriter, r reason) { x.text("ECGridOSSOAPErrorCode", r.name) },
	ShapeCodeNumber: func(x *xmlWriter, r reason) { x.text("ECGridOSSOAPErrorCode", itoa(cmp.Or(r.soapCode, r.code))) },
	ShapeEmpty:      func(*xmlWriter, reason) {},
}

func errorFields(x *xmlWriter, r reason) {
	x.text("ErrorCode", itoa(r.code))
	x.text("ErrorString", r.retCode)
	x.text("ErrorItem", r.item)
	x.text("ErrorMessage", r.message)
}
