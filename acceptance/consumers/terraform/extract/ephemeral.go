// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"vault-plugin-ecgrid/acceptance/consumers/terraform/schema"
)

// ephemeral reads the attributes of an ephemeral resource from the provider's Go files.
// Their maps are keyed by constants such as consts.FieldMountID. Its value is the tag of
// the field MountID of the model.
func ephemeral(files ...string) (schema.Attributes, error) {
	names := map[string]string{}
	attributes := schema.Attributes{}
	var unnamed []string
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok && field.Tag != nil && len(field.Names) == 1 {
				names[field.Names[0].Name] = tag(field)
			}
			return true
		})
		ast.Inspect(tree, func(n ast.Node) bool {
			key, attribute, ok := entry(n)
			if !ok {
				return true
			}
			name := names[key]
			if name == "" {
				unnamed = append(unnamed, key)
			}
			attributes[name] = attribute
			return false
		})
	}
	if len(unnamed) > 0 || len(attributes) == 0 {
		return nil, fmt.Errorf("%d attributes, %v without a field in the model", len(attributes), unnamed)
	}
	return attributes, nil
}

func tag(field *ast.Field) string {
	return reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("tfsdk")
}

var frameworkTypes = map[string]string{
	"StringAttribute": "string", "BoolAttribute": "bool", "Int32Attribute": "number", "Int64Attribute": "number",
	"ListAttribute": "list(string)", "MapAttribute": "map(string)",
}

// entry reads consts.FieldName: schema.StringAttribute{Required: true}.
func entry(n ast.Node) (key string, a schema.Attribute, ok bool) {
	pair, ok := n.(*ast.KeyValueExpr)
	if !ok {
		return "", a, false
	}
	key, isField := strings.CutPrefix(selected(pair.Key), "Field")
	literal, isLiteral := pair.Value.(*ast.CompositeLit)
	if !isField || !isLiteral {
		return "", a, false
	}
	a.Type = frameworkTypes[selected(literal.Type)]
	for _, element := range literal.Elts {
		option := element.(*ast.KeyValueExpr)
		on := fmt.Sprint(option.Value) == "true"
		switch fmt.Sprint(option.Key) {
		case "Required":
			a.Required = on
		case "Optional":
			a.Optional = on
		case "Computed":
			a.Computed = on
		case "Sensitive":
			a.Sensitive = on
		case "ElementType":
			if selected(option.Value) != "StringType" {
				a.Type = ""
			}
		}
	}
	return key, a, a.Type != ""
}

func selected(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		return s.Sel.Name
	}
	return ""
}
