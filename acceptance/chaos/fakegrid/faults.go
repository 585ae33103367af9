// SPDX-License-Identifier: MPL-2.0

package fakegrid

import "errors"

// element is a WSDL element for the templates.
type element struct {
	Name     string
	Value    string
	Children []element
	Nil      bool
}

func leaf(name, value string) element { return element{Name: name, Value: value} }

// errorCode is what a fault may contain: number and name of a RetCode, and an
// ECGridOSSOAPErrorCode as a name or number.
type errorCode struct{ number, name, soap string }

// denials are the possible codes of each error. The vendor documents none of them.
var denials = map[error][]errorCode{
	errRefused: {
		{"2", "AccessDenied", "Authentication"}, {"4", "InvalidID", "Authentication"}, {"3", "NotFound", "Authorization"},
		{"-1", "Unknown", "Authentication"}, {"1043", "LoginFailed", "InvalidParameter"}, {"2", "AccessDenied", "5"},
	},
	errDeadSession: {
		{"1", "SessionTimeout", "Authentication"}, {"2", "AccessDenied", "Authentication"}, {"4", "InvalidID", "5"},
		{"1", "SessionTimeout", "5"}, {"1", "SessionTimeout", "Authorization"},
	},
	errAccess:      {{"2", "AccessDenied", "Authorization"}},
	errNotFound:    {{"3", "NotFound", "ObjectNotFound"}},
	errInvalid:     {{"7", "InvalidDataType", "InvalidParameter"}, {"8", "InvalidDataLength", "InvalidParameter"}},
	errOldPassword: {{"2", "AccessDenied", "Authentication"}, {"9", "DataError", "InvalidParameter"}},
}

// serverErrors are the codes of ECGrid's own failures.
var serverErrors = []errorCode{{"10", "SQLError", "SystemError"}, {"11", "InternalError", "SystemError"}}

// shapes are the documented forms of a fault's detail.
var shapes = []func(m errorCode) []element{
	func(m errorCode) []element { return []element{{Name: "details", Children: errorInfo(m)}} },
	func(m errorCode) []element { return []element{{Name: "ErrorInfo", Children: errorInfo(m)}} },
	func(m errorCode) []element { return []element{{Name: "Fault2", Children: errorInfo(m)}} }, // any name
	errorInfo,
	func(m errorCode) []element { return []element{leaf("ECGridOSSOAPErrorCode", m.soap)} },
}

func errorInfo(m errorCode) []element {
	return []element{
		leaf("ErrorCode", m.number), leaf("ErrorString", m.name), leaf("ErrorItem", ""),
		leaf("ErrorMessage", "The request could not be completed."),
	}
}

type fault struct {
	Code   string // Client or Server
	String string
	Detail []element
	Bare   bool // no namespace in the detail
}

func (d *random) fault(code string, m errorCode) fault {
	return fault{
		Code:   code,
		String: pick(d, []string{"Server was unable to process request.", "ECGridOS", "System.Web.Services.Protocols.SoapException: " + m.name}),
		Detail: pick(d, shapes)(m),
		Bare:   d.oneIn(2),
	}
}

// denial is the fault for an error of Grid.
func (d *random) denial(err error) fault {
	var v violation
	if errors.As(err, &v) {
		return fault{Code: "Client", String: "Server did not recognize the request."}
	}
	return d.fault("Client", pick(d, denials[err]))
}

// serverFault sometimes has an empty detail, as faults of the framework do.
func (d *random) serverFault() fault {
	f := d.fault("Server", pick(d, serverErrors))
	if d.oneIn(3) {
		f.Detail = nil
	}
	return f
}
