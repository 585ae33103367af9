// SPDX-License-Identifier: MPL-2.0

package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFunction = 60  // lines, less those of its longest literal
	maxFile     = 450 // lines
)

// errorTable is the one file that may list sentinels. The clients may, since they give
// ECGrid's answers their meaning.
const (
	errorTable = "backend/errors.go"
	clients    = "internal/ecgrid/"
	storage    = "backend/storage.go"
)

// source is a Go file of the repository.
type source struct {
	path  string // from the root, with slashes
	fset  *token.FileSet
	file  *ast.File
	lines int
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) linesOf(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

func TestLengths(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.lines > maxFile {
			t.Errorf("%s has %d lines; %d are allowed", s.path, s.lines, maxFile)
		}
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.linesOf(f) - s.longestLiteral(f); n > maxFunction {
				t.Errorf("%s: %s has %d lines; %d are allowed", s.path, f.Name.Name, n, maxFunction)
			}
		}
	}
}

func (s source) longestLiteral(f *ast.FuncDecl) (longest int) {
	ast.Inspect(f, func(n ast.Node) bool {
		if literal, ok := n.(*ast.CompositeLit); ok {
			longest = max(longest, s.linesOf(literal))
		}
		return true
	})
	return longest
}

// What follows from a failure is in one table. Elsewhere a statement asks for one
// sentinel at most, and no literal lists several.
func TestOneErrorTable(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.isTest() || s.path == errorTable || strings.HasPrefix(s.path, clients) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			found := map[string]bool{}
			switch n := n.(type) {
			case *ast.SwitchStmt:
				sentinelsAskedFor(n, found)
			case *ast.BinaryExpr:
				sentinelsAskedFor(n, found)
			case *ast.CompositeLit:
				for _, element := range n.Elts {
					if name := sentinel(element); name != "" {
						found[name] = true
					}
				}
			}
			if len(found) > 1 {
				t.Errorf("%s: a list of sentinels, which belongs in %s: %v", s.fset.Position(n.Pos()), errorTable, found)
			}
			return true
		})
	}
}

// sentinelsAskedFor collects the second arguments of errors.Is. It does not look into
// the bodies of a switch, which are statements of their own.
func sentinelsAskedFor(n ast.Node, found map[string]bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if clause, ok := n.(*ast.CaseClause); ok {
			for _, condition := range clause.List {
				sentinelsAskedFor(condition, found)
			}
			return false
		}
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		if is, ok := call.Fun.(*ast.SelectorExpr); ok && is.Sel.Name == "Is" {
			if name := sentinel(call.Args[1]); name != "" {
				found[name] = true
			}
		}
		return true
	})
}

// sentinel returns the name of an Err… variable of this project, or "".
func sentinel(e ast.Expr) string {
	name := ""
	switch e := e.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		if from, ok := e.X.(*ast.Ident); ok && (from.Name == "ecgrid" || from.Name == "session" || from.Name == "backend") {
			name = e.Sel.Name
		}
	}
	if strings.HasPrefix(name, "Err") || strings.HasPrefix(name, "err") && len(name) > 3 {
		return name
	}
	return ""
}

// Only one file knows Vault's storage.
func TestOneStorageFile(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.isTest() || s.path == storage || !strings.HasPrefix(s.path, "backend/") && strings.Contains(s.path, "/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if from, ok := f.X.(*ast.SelectorExpr); ok && (from.Sel.Name == "Storage" || from.Sel.Name == "StorageView") {
				t.Errorf("%s: storage is called outside %s", s.fset.Position(n.Pos()), storage)
			}
			return true
		})
	}
}

// sources parses the Go files of all modules of the repository.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && path != root {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(rel), fset, file, fset.File(file.Pos()).LineCount()})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
