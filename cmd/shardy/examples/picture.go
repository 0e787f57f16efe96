package examples

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/png"
)

// Picture is a ray-traced picture, cut into tiles.
type Picture struct {
	Width, Height         int // pixels
	TileWidth, TileHeight int // pixels; tiles at the right and lower edge may be smaller
	Samples               int // per pixel
	Bounces               int // per sample
	Seed                  uint64
}

// NewPicture returns 640 x 360 pixels in 48 tiles, with 32 samples per pixel when quick, else 256.
func NewPicture(quick bool) Picture {
	p := Picture{Width: 640, Height: 360, TileWidth: 80, TileHeight: 60, Samples: 256, Bounces: 6, Seed: 42}
	if quick {
		p.Samples = 32
	}
	return p
}

func (Picture) Module() string { return "raytrace" }

// tiles lists the rectangles in the order of the chunks: rows of tiles from the top, each from the left.
func (p Picture) tiles() []image.Rectangle {
	var tiles []image.Rectangle
	whole := image.Rect(0, 0, p.Width, p.Height)
	for y := 0; y < p.Height; y += p.TileHeight {
		for x := 0; x < p.Width; x += p.TileWidth {
			tiles = append(tiles, image.Rect(x, y, x+p.TileWidth, y+p.TileHeight).Intersect(whole))
		}
	}
	return tiles
}

func (p Picture) Chunks() [][]byte {
	var chunks [][]byte
	for _, t := range p.tiles() {
		b := make([]byte, 0, 40)
		for _, v := range []int{p.Width, p.Height, t.Min.X, t.Min.Y, t.Dx(), t.Dy(), p.Samples, p.Bounces} {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		chunks = append(chunks, binary.LittleEndian.AppendUint64(b, p.Seed))
	}
	return chunks
}

func (p Picture) OutputSizes() []int {
	var sizes []int
	for _, t := range p.tiles() {
		sizes = append(sizes, 3*t.Dx()*t.Dy())
	}
	return sizes
}

// Fuel allows about 6,000 units per sample.
func (p Picture) Fuel() uint64 { return uint64(p.TileWidth*p.TileHeight*p.Samples)*6000 + 1_000_000 }

// Assemble returns the pixels of the whole picture, three bytes each, row by row.
func (p Picture) Assemble(outputs [][]byte) ([]byte, error) {
	if _, err := join(p, outputs); err != nil {
		return nil, err
	}
	pixels := make([]byte, 3*p.Width*p.Height)
	for i, t := range p.tiles() {
		for y := range t.Dy() {
			at := 3 * ((t.Min.Y+y)*p.Width + t.Min.X)
			copy(pixels[at:], outputs[i][3*y*t.Dx():3*(y+1)*t.Dx()])
		}
	}
	return pixels, nil
}

// PNG encodes what Assemble returned.
func (p Picture) PNG(pixels []byte) ([]byte, error) {
	if len(pixels) != 3*p.Width*p.Height {
		return nil, fmt.Errorf("%w: %d bytes are not %d x %d pixels", ErrOutput, len(pixels), p.Width, p.Height)
	}
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for i := range p.Width * p.Height {
		copy(img.Pix[4*i:], pixels[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("encode picture: %w", err)
	}
	return b.Bytes(), nil
}

func (p Picture) Describe(pixels []byte) (string, error) {
	sum := 0
	for _, v := range pixels {
		sum += int(v)
	}
	return fmt.Sprintf("picture of %d x %d pixels, %d samples each, mean brightness %d of 255",
		p.Width, p.Height, p.Samples, sum/max(1, len(pixels))), nil
}
