// SPDX-License-Identifier: MPL-2.0

package simulator

// Namespace is the target namespace of the vendor's WSDL.
const Namespace = "https://os.ecgrid.io/"

// field is an element of a sequence in the WSDL.
type field struct {
	name, typ string
	required  bool
	many      bool // maxOccurs is unbounded, and the element nillable, as in all ArrayOf… types
}

func str(name string) field      { return opt(name, "string") }
func opt(name, typ string) field { return field{name: name, typ: typ} }
func req(name, typ string) field { return field{name: name, typ: typ, required: true} }

// complexTypes are those of the WSDL, with its order of elements.
var complexTypes = []struct {
	name   string
	fields []field
}{
	{"SessionInfo", []field{
		str("ECGridOSVersion"), str("SessionID"), req("SessionEventID", "int"), req("UserID", "int"),
		str("LoginName"), str("FirstName"), str("LastName"), str("Company"), str("EMail"), str("Phone"),
		req("TimeZoneOffset", "float"), req("AuthLevel", "AuthLevel"), req("LastLogin", "dateTime"),
		req("OpenSessions", "short"), req("TimeOut", "short"), req("NetworkID", "int"), req("MailboxID", "int"),
		str("ip"),
	}},
	{"UserIDInfo", []field{
		req("UserID", "int"), str("LoginName"), str("RecoveryQuestion"), str("FirstName"), str("LastName"),
		str("Company"), str("EMail"), str("Phone"), str("CellPhone"), req("CellCarrier", "CellCarrier"),
		req("TimeZoneOffset", "short"), req("NetworkID", "int"), req("MailboxID", "int"),
		req("AuthLevel", "AuthLevel"), req("Created", "dateTime"), req("Modified", "dateTime"),
		req("LastLogin", "dateTime"), req("Status", "Status"), req("LockedOut", "boolean"),
		req("OpenSessions", "short"),
	}},
	{"ArrayOfUserIDInfo", []field{{name: "UserIDInfo", typ: "UserIDInfo", many: true}}},
}

// enums are the simple types of the WSDL that complexTypes use.
var enums = map[string][]string{
	"AuthLevel": {"NoChange", "Root", "TechOps", "NetOps", "NetworkAdmin", "NetworkUser", "MailboxAdmin", "MailboxUser", "TPUser", "General"},
	"CellCarrier": {"NoChange", "Undefined", "ATTCingular", "Verizon", "TMobile", "SprintPCS", "Nextel", "Alltel", "VirginMobile",
		"ATTPreCingular", "ATT", "BoostMobile", "USCellular", "MetroPCS", "Powertel"},
	"Status": {"Development", "Active", "Preproduction", "Suspended", "Terminated"},
}

func fieldsOf(typ string) []field {
	for _, t := range complexTypes {
		if t.name == typ {
			return t.fields
		}
	}
	return nil
}
