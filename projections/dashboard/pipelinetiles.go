package dashboard

import (
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// PreviewLabel is the label of a job, or of a stage's template, that says how its output becomes a picture. It is a
// client's word: what it says is drawn within bounds, as pixels.
const PreviewLabel = "preview"

// PreviewTiles says that the input begins with six 32-bit little-endian numbers (width and height of the whole picture,
// left, top, width and height of the tile), and that the output is the tile: three bytes a pixel (red, green, blue),
// row by row.
const PreviewTiles = "tiles/rgb8"

const (
	maxCanvas     = 2 << 20 // pixels of a picture that is put together
	maxTiles      = 4096
	maxPaintings  = 8 // kept
	tileHeader    = 24
	manifestLimit = 8 << 20
)

// isTiled reports whether a job's output is a tile of a picture.
func isTiled(spec *eventv1.JobSpec) bool {
	for _, l := range spec.GetLabels() {
		if l.GetKey() == PreviewLabel && l.GetValue() == PreviewTiles {
			return true
		}
	}
	return false
}

// tile is where an output lies on a picture.
type tile struct {
	canvas image.Point
	at     image.Rectangle
}

// tileOf reads the beginning of an input.
func tileOf(input []byte) (tile, bool) {
	if len(input) < tileHeader {
		return tile{}, false
	}
	var n [6]int
	for i := range n {
		v := binary.LittleEndian.Uint32(input[4*i:])
		if v > maxCanvas {
			return tile{}, false
		}
		n[i] = int(v)
	}
	t := tile{image.Pt(n[0], n[1]), image.Rect(n[2], n[3], n[2]+n[4], n[3]+n[5])}
	if n[0] <= 0 || n[1] <= 0 || n[4] <= 0 || n[5] <= 0 || n[0]*n[1] > maxCanvas || !t.at.In(image.Rect(0, 0, n[0], n[1])) {
		return tile{}, false
	}
	return t, true
}

// size is how many bytes the tile's output has.
func (t tile) size() int { return 3 * t.at.Dx() * t.at.Dy() }

// paint puts an output on a canvas, unless it has another size. Shift moves it.
func (t tile) paint(on *image.NRGBA, output []byte, shift image.Point) bool {
	if len(output) != t.size() {
		return false
	}
	at := t.at.Add(shift)
	for y := at.Min.Y; y < at.Max.Y; y++ {
		for x := at.Min.X; x < at.Max.X; x++ {
			on.SetNRGBA(x, y, color.NRGBA{output[0], output[1], output[2], 255})
			output = output[3:]
		}
	}
	return true
}

// painting is the picture of one stage, as far as its tiles are there.
type painting struct {
	mu      sync.Mutex // guards what follows
	refs    []*eventv1.BlobRef
	canvas  *image.NRGBA
	painted map[uint32]bool // chunks that were put on it, or that cannot be
	shown   int             // of them, put on it
	png     []byte          // of the canvas with so many chunks
	pngOf   int
}

// paintings are the pictures that were looked at lately.
type paintings struct {
	mu    sync.Mutex
	order []string // oldest first
	byKey map[string]*painting
}

func (p *paintings) of(key string) *painting {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byKey == nil {
		p.byKey = map[string]*painting{}
	}
	for i, k := range p.order {
		if k == key {
			p.order = append(append(p.order[:i:i], p.order[i+1:]...), key)
			return p.byKey[key]
		}
	}
	if len(p.order) >= maxPaintings {
		delete(p.byKey, p.order[0])
		p.order = p.order[1:]
	}
	made := &painting{painted: map[uint32]bool{}}
	p.order = append(p.order, key)
	p.byKey[key] = made
	return made
}

// paintedStage is the last stage of a pipeline that draws and has begun.
func paintedStage(p *readmodel.Pipeline) (stage readmodel.Stage, ok bool) {
	for i, s := range p.Progress {
		if i < len(p.Spec.GetStages()) && s.Manifest != nil && s.Chunks > 0 && s.Chunks <= maxTiles && isTiled(p.Spec.Stages[i].GetTemplate()) {
			stage, ok = s, true
		}
	}
	return stage, ok
}

// easel finds the painting of a stage and makes it ready: it knows the inputs and has its size.
func (d *Dashboard) easel(ctx context.Context, id string, s readmodel.Stage) (*painting, error) {
	p := d.paintings.of(fmt.Sprintf("%s/%d/%x", id, s.Stage, s.Manifest.GetSha256()))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.canvas != nil {
		return p, nil
	}
	data, err := d.readBlob(ctx, s.Manifest, manifestLimit)
	if err != nil {
		return nil, err
	}
	manifest := new(eventv1.ChunkManifest)
	if err := proto.Unmarshal(data, manifest); err != nil || len(manifest.Chunks) == 0 {
		return nil, errNotFound
	}
	head, err := d.readBlob(ctx, manifest.Chunks[0], tileHeader)
	if err != nil {
		return nil, err
	}
	first, ok := tileOf(head)
	if !ok {
		return nil, errNotFound
	}
	p.refs, p.canvas = manifest.Chunks, image.NewNRGBA(image.Rectangle{Max: first.canvas})
	return p, nil
}

// draw puts the verified tiles of a stage on its canvas that are not there yet, and returns the picture.
func (d *Dashboard) draw(ctx context.Context, id string, s readmodel.Stage) ([]byte, error) {
	p, err := d.easel(ctx, id, s)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for from := uint32(0); from < s.Chunks; from += readmodel.MaxPage {
		chunks, err := d.deps.Model.Chunks(ctx, id, s.Stage, from, readmodel.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, c := range chunks {
			if c.State != operatorv1.JobState_JOB_STATE_VERIFIED || p.painted[c.Chunk] || int(c.Chunk) >= len(p.refs) {
				continue
			}
			shown, err := d.paintChunk(ctx, p, c)
			if err != nil {
				return nil, err
			}
			p.painted[c.Chunk] = true
			if shown {
				p.shown++
			}
		}
	}
	if p.png == nil || p.pngOf != len(p.painted) {
		if p.png, err = encodePNG(p.canvas); err != nil {
			return nil, err
		}
		p.pngOf = len(p.painted)
	}
	return p.png, nil
}

// paintChunk reports whether the chunk is a tile of this canvas.
func (d *Dashboard) paintChunk(ctx context.Context, p *painting, c readmodel.Chunk) (bool, error) {
	head, err := d.readBlob(ctx, p.refs[c.Chunk], tileHeader)
	if err != nil {
		return false, err
	}
	t, ok := tileOf(head)
	if !ok || t.canvas != p.canvas.Rect.Max || c.Output.GetSize() != uint64(t.size()) {
		return false, nil
	}
	output, err := d.readBlob(ctx, c.Output, int64(t.size()))
	if err != nil {
		return false, err
	}
	return t.paint(p.canvas, output, image.Point{}), nil
}

// drawTile makes a picture of one job's output.
func (d *Dashboard) drawTile(ctx context.Context, spec *eventv1.JobSpec, output *eventv1.BlobRef) (*image.NRGBA, bool) {
	if !isTiled(spec) {
		return nil, false
	}
	head, err := d.readBlob(ctx, spec.GetInput(), tileHeader)
	if err != nil {
		return nil, false
	}
	t, ok := tileOf(head)
	if !ok || output.GetSize() != uint64(t.size()) {
		return nil, false
	}
	data, err := d.readBlob(ctx, output, int64(t.size()))
	if err != nil {
		return nil, false
	}
	img := image.NewNRGBA(image.Rectangle{Max: t.at.Size()})
	return img, t.paint(img, data, image.Point{}.Sub(t.at.Min))
}
