// SPDX-License-Identifier: MPL-2.0

package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"vault-plugin-ecgrid/bench/internal/stat"
	"vault-plugin-ecgrid/bench/internal/testbed"
)

// allPlots are all plots. docs/performance.md links to the files.
var allPlots = []struct {
	Plot
	width, height vg.Length // cm
	draw          func(*Result, *plot.Plot) error
}{
	{Plot{"ratios.svg", "Reads per second and speed of a read in every cell, relative to livefloor"}, 24, 11, (*Result).plotRatios},
	{Plot{"throughput-inmem.svg", "Reads per second by upstream latency, inmem storage"}, 18, 11, plotThroughput(testbed.Inmem)},
	{Plot{"throughput-raft.svg", "Reads per second by upstream latency, raft storage"}, 18, 11, plotThroughput(testbed.Raft)},
	{Plot{"read-time.svg", "Time of a read, one reader, no upstream latency"}, 18, 9, (*Result).plotTimes},
	{Plot{"cpu.svg", "CPU time of a read, 32 readers, no upstream latency"}, 18, 9, (*Result).plotCPU},
	{Plot{"herd.svg", "Reads that start at once: time until the last answer"}, 20, 9, (*Result).plotHerds},
	{Plot{"growth.svg", "Time of a read by the number of leases and roles"}, 18, 9, (*Result).plotGrowth},
}

// errNoData means that a run has nothing to plot.
var errNoData = errors.New("no data")

// Plot writes the plots of what was measured, and returns them.
func (r *Result) Plot(dir string) ([]Plot, error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	var written []Plot
	for _, def := range allPlots {
		p := plot.New()
		p.Title.Text = def.Title
		p.Title.Padding = vg.Points(6)
		p.Y.Min = 0
		p.Legend.Padding = vg.Points(2)
		p.Legend.Top = true
		grid := plotter.NewGrid()
		grid.Vertical.Color, grid.Horizontal.Color = nil, color.Gray{Y: 225}
		p.Add(grid)
		err := def.draw(r, p)
		if errors.Is(err, errNoData) {
			continue
		}
		if err == nil {
			err = save(p, def.width*vg.Centimeter, def.height*vg.Centimeter, filepath.Join(dir, def.File))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", def.File, err)
		}
		written = append(written, def.Plot)
	}
	return written, nil
}

func save(p *plot.Plot, width, height vg.Length, path string) error {
	canvas := vgsvg.New(width, height)
	const margin = 6 // points
	p.Draw(draw.Crop(draw.New(canvas), margin, -margin, margin, -margin))
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// Readers without this font need one of the same width.
	text := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(path, text, 0o644)
}

// The colors of Okabe and Ito, which color-blind people can tell apart.
var (
	blue   = color.RGBA{0x00, 0x72, 0xB2, 0xFF}
	orange = color.RGBA{0xE6, 0x9F, 0x00, 0xFF}
	green  = color.RGBA{0x00, 0x9E, 0x73, 0xFF}
	red    = color.RGBA{0xD5, 0x5E, 0x00, 0xFF}
	gray   = color.Gray{Y: 110}
)

// curve is medians with quartiles.
type curve struct {
	name   string
	color  color.Color
	shape  draw.GlyphDrawer
	line   bool // connects the medians
	dashes []vg.Length
	plotter.XYs
	plotter.YErrors
}

// curves are drawn in their order. The name identifies a curve.
type curves []*curve

// add adds a value to the curve with the same name.
func (cs *curves) add(c curve, x float64, s stat.Spread) {
	i := slices.IndexFunc(*cs, func(other *curve) bool { return other.name == c.name })
	if i < 0 {
		i = len(*cs)
		*cs = append(*cs, &c)
	}
	to := (*cs)[i]
	to.XYs = append(to.XYs, plotter.XY{X: x, Y: s.Median})
	to.YErrors = append(to.YErrors, struct{ Low, High float64 }{s.Median - s.Q1, s.Q3 - s.Median})
}

func (cs curves) draw(p *plot.Plot) error {
	if len(cs) == 0 {
		return errNoData
	}
	for _, c := range cs {
		bars, err1 := plotter.NewYErrorBars(c)
		line, dots, err2 := plotter.NewLinePoints(c.XYs)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		bars.Color = c.color
		dots.GlyphStyle = draw.GlyphStyle{Color: c.color, Radius: vg.Points(3), Shape: c.shape}
		line.LineStyle = draw.LineStyle{Color: c.color, Dashes: c.dashes, Width: vg.Points(1.5)}
		p.Add(bars, dots)
		legend := []plot.Thumbnailer{dots}
		if c.line {
			p.Add(line)
			legend = append(legend, line)
		}
		p.Legend.Add(c.name, legend...)
	}
	return nil
}

// nameX labels the X axis. Many names are slanted.
func nameX(p *plot.Plot, names []string) {
	p.NominalX(names...)
	if len(names) > 6 {
		p.X.Tick.Label.Rotation = math.Pi / 6
		p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = draw.XRight, draw.YCenter
	}
	p.X.Min, p.X.Max = -0.6, float64(len(names))-0.4
}

func (r *Result) plotRatios(p *plot.Plot) error {
	var cs curves
	var cells []string
	for i, pair := range r.pairs(testbed.ECGrid, testbed.Livefloor, nil) {
		x := float64(i)
		cs.add(curve{name: "reads/s", color: blue, shape: draw.CircleGlyph{}}, x-0.15, pair.own.ratio(pair.baseline, rps))
		cs.add(curve{name: "speed of a read (1 / p50)", color: orange, shape: draw.BoxGlyph{}}, x, pair.own.ratio(pair.baseline, speed))
		if twin, ok := pair.find(testbed.Twin); ok {
			cs.add(curve{name: "livefloor-twin, reads/s (noise)", color: gray, shape: draw.RingGlyph{}}, x+0.15, twin.ratio(pair.baseline, rps))
		}
		cells = append(cells, pair.name())
	}
	if err := cs.draw(p); err != nil {
		return err
	}
	one := plotter.NewFunction(func(float64) float64 { return 1 })
	one.Color, one.Dashes = red, []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(one)
	p.Legend.Add("livefloor", one)
	p.Legend.Top, p.Legend.Left = false, true
	p.Y.Label.Text = "× livefloor, higher is better"
	p.Y.Max = max(p.Y.Max, 1.1)
	nameX(p, cells)
	return nil
}

// plotThroughput returns a function that plots the cells of a storage.
func plotThroughput(storage string) func(*Result, *plot.Plot) error {
	dashes := map[int][]vg.Length{1: {vg.Points(1), vg.Points(3)}, 32: {vg.Points(6), vg.Points(3)}}
	return func(r *Result, p *plot.Plot) error {
		var cs curves
		for _, contender := range []curve{
			{name: testbed.ECGrid, color: blue}, {name: testbed.ECGridREST, color: green},
			{name: testbed.Livefloor, color: orange}, {name: testbed.Direct, color: gray},
		} {
			for _, cell := range r.Cells {
				if s, ok := cell.find(contender.name); ok && cell.Storage == storage {
					c := contender
					c.name += fmt.Sprintf(", c=%d", cell.Concurrency)
					c.shape, c.line, c.dashes = draw.CircleGlyph{}, true, dashes[cell.Concurrency]
					cs.add(c, cell.Latency, s.spread(rps))
				}
			}
		}
		if err := cs.draw(p); err != nil {
			return err
		}
		if p.X.Max == p.X.Min { // one latency
			return errNoData
		}
		p.Y.Scale, p.Y.Tick.Marker, p.Y.Min = plot.LogScale{}, plot.LogTicks{Prec: -1}, 1
		p.Y.Label.Text, p.X.Label.Text = "reads/s (logarithmic)", "latency of the upstream, ms"
		p.X.Max *= 1.45 // space for the legend
		return nil
	}
}

// barSet is bars of one color, one for each name on the X axis.
type barSet struct {
	name   string
	color  color.Color
	figure figure // for plotCell
	values plotter.Values
}

// drawBars draws two sets of bars, side by side or stacked.
func drawBars(p *plot.Plot, xLabel, yLabel string, names []string, stacked bool, first, second barSet) error {
	if len(names) == 0 {
		return errNoData
	}
	const width = 14
	one, err1 := plotter.NewBarChart(first.values, width)
	two, err2 := plotter.NewBarChart(second.values, width)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	one.Color, two.Color = first.color, second.color
	one.LineStyle.Width, two.LineStyle.Width = 0, 0
	if stacked {
		two.StackOn(one)
	} else {
		one.Offset, two.Offset = -width/2, width/2
	}
	p.Add(one, two)
	p.Legend.Add(first.name, one)
	p.Legend.Add(second.name, two)
	p.X.Label.Text, p.Y.Label.Text = xLabel, yLabel
	nameX(p, names)
	p.Y.Max *= 1.25 // space for the legend
	return nil
}

// plotCell draws two figures of all contenders except one, in a cell without latency. It
// prefers a cell with this concurrency.
func (r *Result) plotCell(p *plot.Plot, concurrency int, except, yLabel string, stacked bool, first, second barSet) error {
	var cell Cell
	for _, c := range r.Cells {
		if noLatency(c) && (cell.Series == nil || c.Concurrency == concurrency && cell.Concurrency != concurrency) {
			cell = c
		}
	}
	var names []string
	for _, s := range cell.Series {
		if len(s.Rounds) > 0 && s.Contender != except {
			names = append(names, s.Contender)
			first.values = append(first.values, s.median(first.figure))
			second.values = append(second.values, s.median(second.figure))
		}
	}
	return drawBars(p, cell.name(), yLabel, names, stacked, first, second)
}

func (r *Result) plotTimes(p *plot.Plot) error {
	return r.plotCell(p, 1, "", "ms", false,
		barSet{name: "p50", color: blue, figure: p50}, barSet{name: "p99", color: orange, figure: p99})
}

func (r *Result) plotCPU(p *plot.Plot) error {
	return r.plotCell(p, 32, testbed.Direct, "CPU ms per read", true,
		barSet{name: "plugin", color: blue, figure: pluginCPU}, barSet{name: "Vault", color: orange, figure: vaultCPU})
}

func (r *Result) plotHerds(p *plot.Plot) error {
	one, many := barSet{name: "on one user", color: blue}, barSet{name: "on as many users", color: orange}
	var names []string
	xLabel := ""
	for _, h := range r.Herds {
		xLabel = fmt.Sprintf("%d reads, latency of the upstream %g ms", h.Reads, h.Latency)
		name := h.Contender + ", " + h.Session
		i := slices.Index(names, name)
		if i < 0 {
			i = len(names)
			names, one.values, many.values = append(names, name), append(one.values, 0), append(many.values, 0)
		}
		wall, _ := h.summary()
		if h.Users == 1 {
			one.values[i] = wall.Median
		} else {
			many.values[i] = wall.Median
		}
	}
	return drawBars(p, xLabel, "ms", names, false, one, many)
}

func (r *Result) plotGrowth(p *plot.Plot) error {
	colors := map[string]color.Color{
		"ecgrid, " + Leases: blue, "livefloor, " + Leases: orange, "ecgrid, " + CountedLeases: green, "ecgrid, " + Roles: gray,
	}
	var cs curves
	for _, g := range r.Growth {
		name := g.Contender + ", " + g.Kind
		if colors[name] != nil {
			cs.add(curve{name: name, color: colors[name], shape: draw.CircleGlyph{}, line: true}, float64(g.Count), stat.Of(g.P50))
		}
	}
	if err := cs.draw(p); err != nil {
		return err
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.X.Label.Text, p.Y.Label.Text = "how many there are (logarithmic)", "p50 of a read, ms"
	p.Y.Min, p.Y.Max = 0, p.Y.Max*1.3 // space for the legend
	return nil
}
