package otherhand

import "errors"

// element is what the templates print: a tree of WSDL elements.
type element struct {
	Name     string
	Value    string
	Children []element
	Nil      bool
}

func leaf(name, value string) element { return element{Name: name, Value: value} }

// meaning is one way in which ECGrid may put a denial: a RetCode, or a name or
// number of ECGridOSSOAPErrorCode.
type meaning struct{ number, name, soap string }

// meanings list what each denial may look like. Which code it really carries is
// documented for none of them, so it varies.
var meanings = map[error][]meaning{
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

// trouble is a fault of the service itself.
var trouble = []meaning{{"10", "SQLError", "SystemError"}, {"11", "InternalError", "SystemError"}}

// shapes are the documented forms of a fault's detail.
var shapes = []func(m meaning) []element{
	func(m meaning) []element { return []element{{Name: "details", Children: errorInfo(m)}} },
	func(m meaning) []element { return []element{{Name: "ErrorInfo", Children: errorInfo(m)}} },
	func(m meaning) []element { return []element{{Name: "Fault2", Children: errorInfo(m)}} }, // the first child, whatever its name
	errorInfo,
	func(m meaning) []element { return []element{leaf("ECGridOSSOAPErrorCode", m.soap)} },
}

func errorInfo(m meaning) []element {
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

func (d *dice) fault(code string, m meaning) fault {
	return fault{
		Code:   code,
		String: pick(d, []string{"Server was unable to process request.", "ECGridOS", "System.Web.Services.Protocols.SoapException: " + m.name}),
		Detail: pick(d, shapes)(m),
		Bare:   d.one(2),
	}
}

// denial puts an error of the model into one of its forms.
func (d *dice) denial(err error) fault {
	var v violation
	if errors.As(err, &v) {
		return fault{Code: "Client", String: "Server did not recognize the request."}
	}
	return d.fault("Client", pick(d, meanings[err]))
}

// serverFault is sometimes the framework's own: an empty detail.
func (d *dice) serverFault() fault {
	f := d.fault("Server", pick(d, trouble))
	if d.one(3) {
		f.Detail = nil
	}
	return f
}
