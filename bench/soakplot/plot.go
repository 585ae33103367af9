// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	width       = 18 * vg.Centimeter
	panelHeight = 6 * vg.Centimeter
	margin      = 6 // points
)

// The colors of Okabe and Ito, which color-blind people can tell apart.
var colors = []color.Color{
	color.RGBA{0x00, 0x72, 0xB2, 0xFF}, color.RGBA{0xD5, 0x5E, 0x00, 0xFF}, color.RGBA{0x00, 0x9E, 0x73, 0xFF}, color.RGBA{0xE6, 0x9F, 0x00, 0xFF},
}

// panels are the plots, from the top. The names of their lines are those of the test.
var panels = []struct {
	title string
	lines []string
}{
	{"Memory of the plugin, MB", []string{"plugin RSS, MB", "plugin live heap, MB"}},
	{"Goroutines, threads and open files of the plugin", []string{"plugin goroutines", "plugin open files", "plugin threads"}},
	{"Connections and sessions at ECGrid", []string{"connections to ECGrid", "sessions open at ECGrid"}},
	{"Entries in the storage of Vault", []string{"storage entries", "leases"}},
}

// svg draws the panels above each other. A dashed line shows when failovers began.
func (m measured) svg() ([]byte, error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	var rows [][]*plot.Plot
	for i, panel := range panels {
		p := plot.New()
		p.Title.Text = panel.title
		p.Title.Padding = vg.Points(4)
		p.Legend.Top, p.Legend.Padding = true, vg.Points(2)
		p.Y.Min = 0
		if i == len(panels)-1 {
			p.X.Label.Text = "minutes; failovers begin at the dashed line"
		}
		if err := m.drawLines(p, panel.lines); err != nil {
			return nil, err
		}
		rows = append(rows, []*plot.Plot{p})
	}
	canvas := vgsvg.New(width, panelHeight*vg.Length(len(rows)))
	tiles := draw.Tiles{Rows: len(rows), Cols: 1, PadY: vg.Points(10)}
	for i, row := range plot.Align(rows, tiles, draw.Crop(draw.New(canvas), margin, -margin, margin, -margin)) {
		rows[i][0].Draw(row[0])
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return nil, err
	}
	// Readers without this font need one of the same width.
	return bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}

// drawLines draws the medians of intervals, since a line of each sample is a smear and
// makes a large file.
func (m measured) drawLines(p *plot.Plot, names []string) error {
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, color.Gray{Y: 225}
	p.Add(grid)
	highest := 0.0
	for i, name := range names {
		points := thin(m.series[name], maxPoints)
		if len(points) == 0 {
			return fmt.Errorf("%w of %s", errNoSamples, name)
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = colors[i], vg.Points(1.2)
		p.Add(line)
		p.Legend.Add(name, line)
		for _, point := range points {
			highest = max(highest, point.Y)
		}
	}
	p.Y.Max = math.Ceil(highest * 1.35) // the legend is above the lines
	for _, at := range m.phases {
		line, err := plotter.NewLine(plotter.XYs{{X: at, Y: 0}, {X: at, Y: p.Y.Max}})
		if err != nil {
			return err
		}
		line.Color, line.Dashes = color.Gray{Y: 110}, []vg.Length{vg.Points(4), vg.Points(3)}
		p.Add(line)
	}
	return nil
}
