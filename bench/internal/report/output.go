// SPDX-License-Identifier: MPL-2.0

package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
)

// head returns lines that say what was run and where.
func (r *Result) head() []string {
	lines := []string{
		fmt.Sprintf("`%s`, %s plan, %s, seed %d, took %.0f s.", r.Command, r.Plan, r.Date, r.Seed, r.Took),
		r.Machine.String() + ".",
	}
	if r.Plan == "smoke" {
		lines = append(lines, "This run only checks that everything works. Its figures mean nothing.")
	}
	return lines
}

// tables returns all tables, with those of the selected cells.
func (r *Result) tables(selectCell func(Cell) bool) []table {
	all := []table{r.goalTable(), r.contenderTable(), r.ratioTable()}
	for _, c := range r.Cells {
		if selectCell(c) {
			all = append(all, r.cellTable(c))
		}
	}
	return append(all, r.herdTable(), r.stormTable(), r.growthTable(), r.otherTable())
}

// Table returns the result as plain text.
func (r *Result) Table() string {
	text := strings.Join(r.head(), "\n") + "\n"
	for _, t := range r.tables(func(Cell) bool { return true }) {
		text += t.text()
	}
	return strings.ReplaceAll(text, "`", "")
}

// text returns "" for a table without rows.
func (t table) text() string {
	if len(t.rows) == 0 {
		return ""
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\n== %s\n", t.title)
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.head}, t.rows...) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // a Builder never fails
	if t.note != "" {
		text.WriteString(t.note + "\n")
	}
	return text.String()
}

// Plot is the file of a plot and its title.
type Plot struct{ File, Title string }

// Markers in docs/performance.md.
const (
	beginMark = "<!-- bench: begin. What follows is written by `make bench`. -->"
	endMark   = "<!-- bench: end -->"
)

// Markdown returns the result as a part of docs/performance.md. It has the full tables of
// the cells without latency only. It links to the plots in performance/.
func (r *Result) Markdown(plots []Plot) string {
	text := "Measured by " + strings.Join(r.head(), "\n") + "\n\n"
	for _, t := range r.tables(noLatency) {
		text += t.markdown()
	}
	for _, p := range plots {
		text += fmt.Sprintf("![%s](performance/%s)\n\n", p.Title, p.File)
	}
	return strings.TrimRight(text, "\n") + "\n"
}

func (t table) markdown() string {
	if len(t.rows) == 0 {
		return ""
	}
	var text strings.Builder
	fmt.Fprintf(&text, "### %s\n\n| %s |\n%s|\n", t.title, strings.Join(t.head, " | "), strings.Repeat("|---", len(t.head)))
	for _, row := range t.rows {
		fmt.Fprintf(&text, "| %s |\n", strings.ReplaceAll(strings.Join(row, " | "), string(Missed), "**missed**"))
	}
	text.WriteString("\n")
	if t.note != "" {
		text.WriteString(t.note + "\n\n")
	}
	return text.String()
}

// PutInto replaces the text between the markers of a file. It creates the file, or
// appends the markers, if they are missing.
func PutInto(path, fragment string) error {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before, rest, found := strings.Cut(string(raw), beginMark)
	_, after, closed := strings.Cut(rest, endMark)
	switch {
	case found && !closed:
		return fmt.Errorf("%s has no line %q after the one with %q: add it", path, endMark, beginMark)
	case !found:
		after = "\n"
		if before != "" {
			before = strings.TrimRight(before, "\n") + "\n\n"
		}
	}
	return os.WriteFile(path, []byte(before+beginMark+"\n\n"+fragment+"\n"+endMark+after), 0o644)
}
