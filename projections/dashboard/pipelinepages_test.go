package dashboard

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// tileInput is the input of a tile, followed by what the module needs beside.
func tileInput(n ...uint32) []byte {
	var b []byte
	for _, v := range n {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, "samples"...)
}

// colourAt is a pattern that tells every pixel from its neighbours.
func colourAt(x, y int) color.NRGBA { return color.NRGBA{uint8(x), uint8(y), uint8(x * y), 255} }

// drawing submits a pipeline that draws 40 by 30 pixels in tiles of 16 by 16, those at the edges smaller.
func (w *plant) drawing() string {
	var inputs [][]byte
	for y := 0; y < 30; y += 16 {
		for x := 0; x < 40; x += 16 {
			inputs = append(inputs, tileInput(40, 30, uint32(x), uint32(y), uint32(min(16, 40-x)), uint32(min(16, 30-y))))
		}
	}
	w.output = func(_ actors.Task, spec *eventv1.JobSpec) []byte {
		w.mu.Lock()
		input := w.blobs[[32]byte(spec.Input.Sha256)]
		w.mu.Unlock()
		t, ok := tileOf(input)
		if !ok {
			return []byte("no tile")
		}
		var out []byte
		for y := t.at.Min.Y; y < t.at.Max.Y; y++ {
			for x := t.at.Min.X; x < t.at.Max.X; x++ {
				c := colourAt(x, y)
				out = append(out, c.R, c.G, c.B)
			}
		}
		return out
	}
	return w.pipeline("picture", inputs, func(p *eventv1.PipelineSpec) {
		p.Stages[0].Name = "raytrace"
		p.Stages[0].Template.Labels = []*eventv1.Label{{Key: PreviewLabel, Value: PreviewTiles}}
	})
}

func decodePNG(t testing.TB, a answered) image.Image {
	t.Helper()
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "image/png" || a.header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") {
		t.Fatalf("a picture: %d %v", a.status, a.header)
	}
	img, err := png.Decode(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestThePictureShowsItselfWhileTilesArrive: after some tiles it holds those and is clear elsewhere; in the end every
// pixel is the one that the workers agreed on, although one of them lies.
func TestThePictureShowsItselfWhileTilesArrive(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	w.lies = func(worker int, _ actors.Task) bool { return worker == 2 }
	id := w.drawing()
	page := s.shows(linkPipeline(id), "Stage 1 of 1: 0 of 6 chunks settled", "0 of 6 tiles, each verified", "Open 6")
	picture := regexp.MustCompile(`src="(/pipelines/[^"]+)" width="40" height="30"`)
	at := picture.FindStringSubmatch(page)
	if at == nil {
		t.Fatalf("no picture on the page:\n%s", page)
	}
	for range 5 {
		w.step()
	}
	w.settle()
	s.settle()
	img := decodePNG(t, s.get(at[1]))
	clear, drawn := 0, 0
	for y := range 30 {
		for x := range 40 {
			switch c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA); {
			case c.A == 0:
				clear++
			case c == colourAt(x, y):
				drawn++
			default:
				t.Fatalf("pixel %d,%d is %v", x, y, c)
			}
		}
	}
	if clear == 0 || drawn == 0 {
		t.Errorf("half-way %d pixels are clear and %d drawn", clear, drawn)
	}
	w.work()
	page = s.shows(linkPipeline(id), "Completed", "6 of 6 tiles, each verified", "Verified 6", "Download")
	if again := picture.FindStringSubmatch(page); again == nil || again[1] == at[1] {
		t.Error("the picture's address does not change with it")
	}
	img = decodePNG(t, s.get(picture.FindStringSubmatch(page)[1]))
	for y := range 30 {
		for x := range 40 {
			if c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA); c != colourAt(x, y) {
				t.Fatalf("pixel %d,%d is %v", x, y, c)
			}
		}
	}
	if a := s.get(linkPipeline(id) + "/output"); a.status != http.StatusOK || len(a.body) != 3*40*30 {
		t.Errorf("the output: %d, %d bytes", a.status, len(a.body))
	}
	job := chunkJob(id, 0, 5)
	s.shows(linkJob(job), "A tile of the pipeline's picture", "chunk 5 of stage 0")
	if size := decodePNG(t, s.get(linkJob(job)+"/output.png")).Bounds().Size(); size != image.Pt(8, 14) {
		t.Errorf("the tile has %v", size)
	}
}

// TestPipelineOfFailedChunks: what could not be computed is named, with the way to it.
func TestPipelineOfFailedChunks(t *testing.T) {
	s := newScene(t, nil)
	w := s.plant
	id := w.pipeline("numbers <b>", [][]byte{{1}, {2}, {3}}, nil)
	lost := chunkJob(id, 0, 1)
	for i := 0; i < len(w.tasks); {
		if w.tasks[i].Job != lost {
			i++
			continue
		}
		w.expire(w.take(i))
		i = 0
	}
	w.work()
	page := s.shows(linkPipeline(id), "Complete but for 1 failed chunk", "Failed chunks", "delivery exhausted", "Dead letter 1", "Verified 2")
	if !strings.Contains(page, linkDeadLetter(lost)) {
		t.Error("no way to the dead letter")
	}
	hides(t, page, "<b>")
	s.shows("/pipelines", "numbers", "Completed", "3 of 3", "All 1")
	s.shows("/pipelines?state=running", "No pipeline matches")
	s.shows("/jobs?pipeline="+id, "All 3", "Verified 2")
}

func TestPipelinesTeachTheFirstCommand(t *testing.T) {
	s := newScene(t, nil)
	s.shows("/pipelines", "No pipelines yet", "shardy run primes.wasm")
	if a := s.get("/pipelines/01k9x2v00000000000000000zz"); a.status != http.StatusNotFound {
		t.Errorf("a pipeline that is not there: %d", a.status)
	}
}

// TestPipelinesOfOthersDoNotExist for clients, and who only watches sees no content.
func TestPipelinesOfOthersDoNotExist(t *testing.T) {
	s := newScene(t, func(d *Deps) {
		d.Access = tokens{"eve": {Name: "eve", Role: RoleOperator, Tenants: []string{"eve"}}, "eye": {Name: "eye", Role: RoleViewer}}
	})
	id := s.plant.drawing()
	s.plant.work()
	s.settle()
	s.login("eve")
	for _, path := range []string{"", "/picture.png", "/output"} {
		if a := s.get(linkPipeline(id) + path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	s.login("eye")
	hides(t, s.shows(linkPipeline(id), "Your role sees no content."), "picture.png")
	for _, path := range []string{"/picture.png", "/output"} {
		if a := s.get(linkPipeline(id) + path); a.status != http.StatusForbidden {
			t.Errorf("%s for a viewer: %d", path, a.status)
		}
	}
}

// TestPipelineWithManyChunksStaysBounded: 2,000 chunks are shown in pages.
func TestPipelineWithManyChunksStaysBounded(t *testing.T) {
	s := newScene(t, nil)
	var inputs [][]byte
	for i := range 1200 {
		inputs = append(inputs, fmt.Appendf(nil, "chunk %d", i))
	}
	id := s.plant.pipeline("many", inputs, nil)
	page := s.shows(linkPipeline(id), "0 to 499 of 1 200", "Open 256 ○ Waiting 244")
	if n := strings.Count(page, `id="chunk-`); n != gridPage {
		t.Errorf("%d fields", n)
	}
	if len(page) > 300_000 {
		t.Errorf("%d bytes", len(page))
	}
	s.shows(linkPipeline(id)+"?chunk=1100", "1 000 to 1 199 of 1 200", "Waiting 200")
	s.shows(linkPipeline(id)+"?chunk=99999999999&stage=7", "0 to 499")
}

// TestTilesOfLiars: whatever an input or an output says, painting stays on the canvas.
func TestTilesOfLiars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		input := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "input")
		if rapid.Bool().Draw(t, "plausible") {
			n := rapid.SliceOfN(rapid.Uint32Range(0, 70), 6, 6).Draw(t, "numbers")
			input = tileInput(n...)
		}
		at, ok := tileOf(input)
		if !ok {
			return
		}
		if at.canvas.X*at.canvas.Y > maxCanvas || at.at.Empty() || !at.at.In(image.Rectangle{Max: at.canvas}) {
			t.Fatalf("%v", at)
		}
		canvas := image.NewNRGBA(image.Rectangle{Max: at.canvas})
		output := bytes.Repeat([]byte{1}, rapid.IntRange(0, 2*at.size()).Draw(t, "size"))
		if at.paint(canvas, output, image.Point{}) != (len(output) == at.size()) {
			t.Fatalf("%d bytes for %v", len(output), at)
		}
	})
}
