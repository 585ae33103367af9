// Package wsdltest holds SOAP messages and WSDLs against a WSDL: the vendor's,
// which the repository holds no copy of. It serves tests only.
//
// It knows the part of XML Schema that .NET's .asmx services use: sequences of
// elements, enumerations, and the simple types int, short, long, unsignedByte,
// float, double, decimal, boolean, dateTime and base64Binary.
package wsdltest

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// VendorFile is where the vendor's WSDL lies, seen from a directory above the
// repository.
const VendorFile = "shared/ecgrid/ECGridOS.wsdl"

// VendorPath finds the vendor's WSDL: the file ECGRID_WSDL names, else
// VendorFile in any directory above the working directory.
func VendorPath() (string, bool) {
	if path := os.Getenv("ECGRID_WSDL"); path != "" {
		return path, exists(path)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		path := filepath.Join(dir, VendorFile)
		if exists(path) {
			return path, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Schema is one WSDL: its types, messages, port types, bindings and ports.
type Schema struct {
	namespace string
	elements  map[string]element
	complex   map[string]complexType
	simple    map[string]simpleType
	messages  map[string]message
	portTypes map[string]portType
	bindings  map[string]binding
	ports     map[string]port // by service/port
}

// Load reads a WSDL file.
func Load(path string) (*Schema, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Parse reads a WSDL.
func Parse(r io.Reader) (*Schema, error) {
	var d definitions
	if err := xml.NewDecoder(r).Decode(&d); err != nil {
		return nil, err
	}
	s := &Schema{
		namespace: d.TargetNamespace,
		messages:  byName(d.Messages), portTypes: byName(d.PortTypes), bindings: byName(d.Bindings),
		ports: map[string]port{},
	}
	for _, schema := range d.Schemas {
		if schema.TargetNamespace != d.TargetNamespace {
			continue // the vendor's second one serves the HTTP GET and POST forms
		}
		s.elements, s.complex, s.simple = byName(schema.Elements), byName(schema.Complex), byName(schema.Simple)
	}
	if len(s.elements) == 0 {
		return nil, fmt.Errorf("no elements of namespace %q: not a WSDL, or not a literal one", d.TargetNamespace)
	}
	for _, service := range d.Services {
		for _, p := range service.Ports {
			s.ports[service.Name+"/"+p.Name] = p
		}
	}
	return s, nil
}

// Operations are the names of the SOAP operations that are bound.
func (s *Schema) Operations() map[string]bool {
	names := map[string]bool{}
	for _, b := range s.bindings {
		for _, op := range b.Operations {
			if op.SOAP.Action != "" {
				names[op.Name] = true
			}
		}
	}
	return names
}

// Addresses are the soap:address of each service/port.
func (s *Schema) Addresses() map[string]string {
	all := map[string]string{}
	for name, p := range s.ports {
		all[name] = p.Address.Location
	}
	return all
}

type named interface{ name() string }

func byName[T named](list []T) map[string]T {
	m := make(map[string]T, len(list))
	for _, v := range list {
		m[v.name()] = v
	}
	return m
}

type definitions struct {
	XMLName         xml.Name   `xml:"http://schemas.xmlsoap.org/wsdl/ definitions"`
	TargetNamespace string     `xml:"targetNamespace,attr"`
	Schemas         []schema   `xml:"types>schema"`
	Messages        []message  `xml:"message"`
	PortTypes       []portType `xml:"portType"`
	Bindings        []binding  `xml:"binding"`
	Services        []struct {
		Name  string `xml:"name,attr"`
		Ports []port `xml:"port"`
	} `xml:"service"`
}

type schema struct {
	TargetNamespace string        `xml:"targetNamespace,attr"`
	Elements        []element     `xml:"element"`
	Complex         []complexType `xml:"complexType"`
	Simple          []simpleType  `xml:"simpleType"`
}

type element struct {
	Name     string       `xml:"name,attr"`
	Ref      string       `xml:"ref,attr"`
	Type     string       `xml:"type,attr"`
	Min      string       `xml:"minOccurs,attr"`
	Max      string       `xml:"maxOccurs,attr"`
	Nillable bool         `xml:"nillable,attr"`
	Complex  *complexType `xml:"complexType"`
}

type complexType struct {
	Name     string     `xml:"name,attr"`
	Sequence []element  `xml:"sequence>element"`
	Any      []struct{} `xml:"sequence>any"`
}

type simpleType struct {
	Name        string `xml:"name,attr"`
	Restriction struct {
		Base string `xml:"base,attr"`
		Enum []struct {
			Value string `xml:"value,attr"`
		} `xml:"enumeration"`
	} `xml:"restriction"`
}

type message struct {
	Name  string `xml:"name,attr"`
	Parts []struct {
		Name    string `xml:"name,attr"`
		Element string `xml:"element,attr"`
		Type    string `xml:"type,attr"`
	} `xml:"part"`
}

type portType struct {
	Name       string     `xml:"name,attr"`
	Operations []abstract `xml:"operation"`
}

// abstract is an operation of a port type.
type abstract struct {
	Name  string `xml:"name,attr"`
	Input struct {
		Message string `xml:"message,attr"`
	} `xml:"input"`
	Output struct {
		Message string `xml:"message,attr"`
	} `xml:"output"`
}

type binding struct {
	Name string `xml:"name,attr"`
	Type string `xml:"type,attr"`
	SOAP struct {
		XMLName   xml.Name
		Transport string `xml:"transport,attr"`
	} `xml:"binding"`
	Operations []bound `xml:"operation"`
}

// bound is an operation of a binding.
type bound struct {
	Name string `xml:"name,attr"`
	SOAP struct {
		XMLName xml.Name
		Action  string `xml:"soapAction,attr"`
		Style   string `xml:"style,attr"`
	} `xml:"operation"`
	Input  bodyUse `xml:"input"`
	Output bodyUse `xml:"output"`
}

type bodyUse struct {
	Body struct {
		XMLName xml.Name
		Use     string `xml:"use,attr"`
	} `xml:"body"`
}

type port struct {
	Name    string `xml:"name,attr"`
	Binding string `xml:"binding,attr"`
	Address struct {
		XMLName  xml.Name
		Location string `xml:"location,attr"`
	} `xml:"address"`
}

func (e element) name() string     { return e.Name }
func (t complexType) name() string { return t.Name }
func (t simpleType) name() string  { return t.Name }
func (m message) name() string     { return m.Name }
func (p portType) name() string    { return p.Name }
func (b binding) name() string     { return b.Name }
func (o abstract) name() string    { return o.Name }
func (o bound) name() string       { return o.Name }

func local(qname string) string { return qname[strings.LastIndexByte(qname, ':')+1:] }
