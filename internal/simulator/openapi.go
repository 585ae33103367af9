// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/json"
	"net/http"
)

// OpenAPIPath is the path of the OpenAPI document, below RESTPath. The vendor has none.
const OpenAPIPath = "/openapi.json"

// schema is a schema object of OpenAPI 3.0, or another object of the document.
type schema map[string]any

var (
	textType    = schema{"type": "string"}
	momentType  = schema{"type": "string", "format": "date-time"}
	integerType = schema{"type": "integer", "format": "int32"}
	booleanType = schema{"type": "boolean"}
	falseOnly   = schema{"type": "boolean", "enum": []bool{false}}
	nullOnly    = schema{"type": "object", "nullable": true, "additionalProperties": false}
	security    = []schema{{"apiKey": []string{}}, {"token": []string{}}}
)

func ref(name string) schema { return schema{"$ref": "#/components/schemas/" + name} }

func arrayOf(of schema) schema { return schema{"type": "array", "items": of} }

func enumeration(name string) schema { return schema{"type": "string", "enum": enums[name]} }

func integerFrom(least int32) schema {
	return schema{"type": "integer", "format": "int32", "minimum": least}
}

func nullable(of schema) schema {
	copied := schema{"nullable": true}
	for name, value := range of {
		copied[name] = value
	}
	return copied
}

// object has pairs of name and schema. All are required.
func objectOf(pairs ...any) schema {
	properties, required := schema{}, []string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name := pairs[i].(string)
		properties[name] = pairs[i+1]
		required = append(required, name)
	}
	return schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

var schemas = schema{
	"Token": objectOf("token", textType, "expiresAt", momentType, "userId", integerType),
	"Session": objectOf("userId", integerType, "login", textType, "networkId", integerType, "mailboxId", integerType,
		"authLevel", enumeration("AuthLevel"), "expiresAt", nullable(momentType)),
	"User": objectOf("userId", integerType, "login", textType, "email", textType, "firstName", textType, "lastName", textType,
		"networkId", integerType, "mailboxId", integerType, "authLevel", enumeration("AuthLevel"),
		"status", enumeration("Status"), "created", momentType),
	"Error": objectOf("success", falseOnly, "data", nullOnly, "errorCode", textType, "message", textType),
}

func serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(OpenAPI(baseURL(r) + RESTPath)) // the client may have left
}

// OpenAPI is an OpenAPI 3.0 document of the REST side, with the given base URL.
func OpenAPI(server string) []byte {
	paths := schema{}
	for i := range restRoutes {
		route := &restRoutes[i]
		item, ok := paths[route.path].(schema)
		if !ok {
			item = schema{}
			paths[route.path] = item
		}
		item[methodNames[route.method]] = route.describe()
	}
	document, _ := json.MarshalIndent(schema{ // these types do not fail
		"openapi":  "3.0.3",
		"info":     schema{"title": "ECGrid REST API as the simulator serves it", "version": RESTVersion},
		"servers":  []schema{{"url": server}},
		"security": security,
		"paths":    paths,
		"components": schema{
			"schemas": schemas,
			"securitySchemes": schema{
				"apiKey": schema{"type": "apiKey", "in": "header", "name": "X-API-Key"},
				"token":  schema{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
			},
		},
	}, "", "  ")
	return append(document, '\n')
}

// methodNames are the fields of a path item.
var methodNames = map[string]string{http.MethodGet: "get", http.MethodPost: "post", http.MethodPut: "put"}

// describe makes an operation object.
func (r *restRoute) describe() schema {
	d := schema{
		"operationId": r.id,
		"summary":     r.summary,
		"responses": schema{
			"200":     jsonResponse("The answer.", r.envelope()),
			"default": jsonResponse("An error.", ref("Error")),
		},
	}
	if r.public {
		d["security"] = []schema{}
	}
	if r.hasID() {
		d["parameters"] = []schema{{"name": "id", "in": "path", "required": true, "schema": integerFrom(1)}}
	}
	if len(r.params) > 0 {
		d["requestBody"] = schema{"required": true, "content": jsonContent(r.body())}
	}
	return d
}

// envelope is the schema of a successful answer.
func (r *restRoute) envelope() schema {
	if r.isUsersFamily() {
		return objectOf("success", booleanType, "data", r.data)
	}
	return objectOf("success", booleanType, "data", r.data, "errorCode", textType, "message", textType)
}

func (r *restRoute) body() schema {
	properties, required := schema{}, []string{}
	for _, p := range r.params {
		properties[p.name] = p.schema
		if p.required {
			required = append(required, p.name)
		}
	}
	body := schema{"type": "object", "properties": properties}
	if len(required) > 0 { // an empty list is not allowed
		body["required"] = required
	}
	return body
}

func jsonResponse(description string, of schema) schema {
	return schema{"description": description, "content": jsonContent(of)}
}

func jsonContent(of schema) schema { return schema{"application/json": schema{"schema": of}} }
