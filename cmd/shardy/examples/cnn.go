package examples

import (
	"bytes"
	"compress/gzip"
	_ "embed" // data files
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

//go:embed data/cnn8-model.bin
var cnnModel []byte

//go:embed data/test-2000-images-idx3-ubyte.gz
var imageFile []byte

//go:embed data/test-2000-labels-idx1-ubyte.gz
var labelFile []byte

const (
	pixelsPerImage = 28 * 28
	classes        = 10
	// ImageCount is how many images the data set holds.
	ImageCount = 2000
)

// fashion unpacks the data set once: its files are part of the program, so only a broken build can fail here.
var fashion = sync.OnceValues(func() (set struct{ images, labels []byte }, err error) {
	if set.images, err = unpack(imageFile, 16, ImageCount*pixelsPerImage); err != nil {
		return set, fmt.Errorf("images: %w", err)
	}
	if set.labels, err = unpack(labelFile, 8, ImageCount); err != nil {
		return set, fmt.Errorf("labels: %w", err)
	}
	return set, nil
})

// unpack reads an IDX file of which only the size of the header matters.
func unpack(file []byte, header, size int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(header+size)+1))
	if err != nil {
		return nil, err
	}
	if len(b) != header+size {
		return nil, fmt.Errorf("%d bytes, want %d", len(b), header+size)
	}
	return b[header:], nil
}

// CNN classifies the first images of the data set with an int8 convolutional network.
type CNN struct {
	Images   int // 1 to ImageCount
	PerChunk int
}

// NewCNN returns the whole data set, 50 images a chunk.
func NewCNN(bool) CNN { return CNN{Images: ImageCount, PerChunk: 50} }

func (CNN) Module() string { return "cnn8" }

func (c CNN) counts() []int {
	var counts []int
	for at := 0; at < min(c.Images, ImageCount); at += c.PerChunk {
		counts = append(counts, min(c.PerChunk, min(c.Images, ImageCount)-at))
	}
	return counts
}

func (c CNN) Chunks() [][]byte {
	set, err := fashion()
	if err != nil {
		return nil
	}
	var chunks [][]byte
	padded := (len(cnnModel) + 3) &^ 3
	images := set.images
	for _, n := range c.counts() {
		b := make([]byte, 8+padded, 8+padded+n*pixelsPerImage)
		binary.LittleEndian.PutUint32(b, uint32(n))
		binary.LittleEndian.PutUint32(b[4:], uint32(len(cnnModel)))
		copy(b[8:], cnnModel)
		chunks = append(chunks, append(b, images[:n*pixelsPerImage]...))
		images = images[n*pixelsPerImage:]
	}
	return chunks
}

func (c CNN) OutputSizes() []int {
	var sizes []int
	for _, n := range c.counts() {
		sizes = append(sizes, n*classes*4)
	}
	return sizes
}

// Fuel allows 6.5 million units per image.
func (c CNN) Fuel() uint64 { return uint64(c.PerChunk)*6_500_000 + 1_000_000 }

// Assemble returns the scores: ten little-endian int32 per image.
func (c CNN) Assemble(outputs [][]byte) ([]byte, error) { return join(c, outputs) }

// Right counts the images whose highest score names their class.
func (c CNN) Right(scores []byte) (int, error) {
	set, err := fashion()
	if err != nil {
		return 0, err
	}
	if len(scores) != min(c.Images, ImageCount)*classes*4 {
		return 0, fmt.Errorf("%w: %d bytes of scores for %d images", ErrOutput, len(scores), c.Images)
	}
	right := 0
	for i := range len(scores) / (classes * 4) {
		best, class := int32(-1<<31), 0
		for k := range classes {
			if v := int32(binary.LittleEndian.Uint32(scores[(i*classes+k)*4:])); v > best {
				best, class = v, k
			}
		}
		if class == int(set.labels[i]) {
			right++
		}
	}
	return right, nil
}

// Accuracy is the share of images that were recognised, 0 to 1.
func (c CNN) Accuracy(scores []byte) (float64, error) {
	right, err := c.Right(scores)
	if err != nil {
		return 0, err
	}
	return float64(right) / float64(max(1, min(c.Images, ImageCount))), nil
}

func (c CNN) Describe(scores []byte) (string, error) {
	right, err := c.Right(scores)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d of %d images recognised (%.2f %%)", right, c.Images, 100*float64(right)/float64(c.Images)), nil
}
