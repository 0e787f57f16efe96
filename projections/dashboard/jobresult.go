package dashboard

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // formats that a result may have
	_ "image/jpeg"
	"image/png"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/events/blobs"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// The bounds of looking into content.
const (
	maxLook      = 64 << 10 // bytes that are read for a text, numbers or a dump
	maxPicture   = 4 << 20  // bytes of a picture file
	maxPixels    = 4 << 20
	maxNumbers   = 64
	maxDump      = 2 << 10
	maxShownText = 8 << 10 // bytes shown of a text
)

// peek is what a page shows of content. It never holds markup.
type peek struct {
	Name     string
	Hash     string
	Size     uint64
	Download string // link; empty: the viewer may not have it
	Picture  string // link to a picture
	Width    int
	Height   int
	Numbers  []string
	Text     string
	Dump     string
	Note     string // why nothing is shown, or what is left out
}

// look prepares the preview of content. path is where it is served below: path for the bytes, path.png for the picture.
func (d *Dashboard) look(ctx context.Context, name string, ref *eventv1.BlobRef, spec *eventv1.OutputSpec, path string) peek {
	p := peek{Name: name, Size: ref.GetSize(), Hash: hex.EncodeToString(ref.GetSha256())}
	switch {
	case len(ref.GetSha256()) != 32:
		p.Note = "There is no content."
		return p
	case d.deps.Blobs == nil:
		p.Note = "This process holds no content."
		return p
	}
	p.Download = path
	head, err := d.readBlob(ctx, ref, maxLook)
	if err != nil {
		p.Note = blobTrouble(err)
		return p
	}
	whole := uint64(len(head)) == ref.Size
	if kind, size, ok := pictureIn(head); ok && ref.Size <= maxPicture && size.X*size.Y <= maxPixels {
		p.Picture, p.Width, p.Height = path+".png", size.X, size.Y
		p.Note = "A " + strings.ToUpper(kind) + " file, drawn anew."
		return p
	}
	if numbers := numbersIn(head, spec.GetDtype()); len(numbers) > 0 {
		p.Numbers = numbers
		element, _ := job.ElementSize(spec.GetDtype()) // known, or there were no numbers
		if total := ref.Size / element; total > uint64(len(numbers)) {
			p.Note = fmt.Sprintf("The first %d of %s numbers.", len(numbers), thousands(total))
		}
		return p
	}
	if text, ok := textIn(head, whole); ok {
		p.Text = clipText(text, maxShownText)
		if len(text) > maxShownText || !whole {
			p.Note = "The beginning of the text."
		}
		return p
	}
	p.Dump = dump(head[:min(len(head), maxDump)])
	if ref.Size > maxDump {
		p.Note = fmt.Sprintf("The first %s.", sizeOf(maxDump))
	}
	return p
}

func blobTrouble(err error) string {
	if errors.Is(err, blobs.ErrNotFound) {
		return "The content is not in the store."
	}
	return "The store cannot be reached at the moment."
}

// readBlob reads the beginning of content.
func (d *Dashboard) readBlob(ctx context.Context, ref *eventv1.BlobRef, limit int64) ([]byte, error) {
	if len(ref.GetSha256()) != 32 || d.deps.Blobs == nil {
		return nil, blobs.ErrNotFound
	}
	content, _, err := d.deps.Blobs.Open(ctx, [32]byte(ref.Sha256))
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(io.LimitReader(content, limit))
}

// pictureIn recognises a picture file and its size.
func pictureIn(head []byte) (kind string, size image.Point, ok bool) {
	cfg, kind, err := image.DecodeConfig(bytes.NewReader(head))
	if err != nil || cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > maxPixels || cfg.Height > maxPixels {
		return "", image.Point{}, false
	}
	return kind, image.Pt(cfg.Width, cfg.Height), true
}

// repaint decodes a picture file and encodes it anew: nothing of the file but its pixels reaches a browser.
func repaint(data []byte) ([]byte, error) {
	_, size, ok := pictureIn(data)
	if !ok || size.X*size.Y > maxPixels {
		return nil, errNotFound
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, errNotFound
	}
	return encodePNG(img)
}

func encodePNG(img image.Image) ([]byte, error) {
	var b bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("encode picture: %w", err)
	}
	return b.Bytes(), nil
}

// numbersIn reads the first elements of an array, as the job says that its output is.
func numbersIn(data []byte, t eventv1.ElementType) []string {
	element, _ := job.ElementSize(t)
	if element == 0 {
		return nil
	}
	size := int(element) // at most 8
	var out []string
	for i := 0; i+size <= len(data) && len(out) < maxNumbers; i += size {
		out = append(out, number(data[i:i+size], t))
	}
	return out
}

func number(b []byte, t eventv1.ElementType) string {
	le := binary.LittleEndian
	switch t {
	case eventv1.ElementType_ELEMENT_TYPE_U8:
		return strconv.Itoa(int(b[0]))
	case eventv1.ElementType_ELEMENT_TYPE_I8:
		return strconv.Itoa(int(int8(b[0])))
	case eventv1.ElementType_ELEMENT_TYPE_U16:
		return strconv.Itoa(int(le.Uint16(b)))
	case eventv1.ElementType_ELEMENT_TYPE_I16:
		return strconv.Itoa(int(int16(le.Uint16(b))))
	case eventv1.ElementType_ELEMENT_TYPE_U32:
		return strconv.FormatUint(uint64(le.Uint32(b)), 10)
	case eventv1.ElementType_ELEMENT_TYPE_I32:
		return strconv.Itoa(int(int32(le.Uint32(b))))
	case eventv1.ElementType_ELEMENT_TYPE_U64:
		return strconv.FormatUint(le.Uint64(b), 10)
	case eventv1.ElementType_ELEMENT_TYPE_I64:
		return strconv.FormatInt(int64(le.Uint64(b)), 10)
	case eventv1.ElementType_ELEMENT_TYPE_F32:
		return strconv.FormatFloat(float64(math.Float32frombits(le.Uint32(b))), 'g', -1, 32)
	}
	return strconv.FormatFloat(math.Float64frombits(le.Uint64(b)), 'g', -1, 64)
}

// textIn reports whether content is text that people can read. The last letter may be cut.
func textIn(data []byte, whole bool) (string, bool) {
	if len(data) == 0 {
		return "", false
	}
	if !whole {
		for i := 0; i < utf8.UTFMax && len(data) > 0 && !utf8.Valid(data); i++ {
			data = data[:len(data)-1]
		}
	}
	if !utf8.Valid(data) {
		return "", false
	}
	for _, r := range string(data) {
		if unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' {
			return "", false
		}
	}
	return string(data), true
}

// dump shows bytes in hex beside their letters, sixteen a line.
func dump(data []byte) string {
	if len(data) == 0 {
		return "no bytes"
	}
	var b strings.Builder
	for at := 0; at < len(data); at += 16 {
		line := data[at:min(at+16, len(data))]
		fmt.Fprintf(&b, "%06x  ", at)
		for i := range 16 {
			if i < len(line) {
				fmt.Fprintf(&b, "%02x ", line[i])
			} else {
				b.WriteString("   ")
			}
			if i == 7 {
				b.WriteByte(' ')
			}
		}
		b.WriteByte(' ')
		for _, c := range line {
			if c < 0x20 || c >= 0x7f {
				c = '.'
			}
			b.WriteByte(c)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// safeContent is what makes bytes of strangers harmless in a browser: they are never shown, and if they were, nothing
// in them would run.
func safeContent(h http.Header) {
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "private, no-store")
}

// sendBlob sends content as a file.
func (d *Dashboard) sendBlob(w http.ResponseWriter, r *http.Request, ref *eventv1.BlobRef, file string) error {
	if len(ref.GetSha256()) != 32 || d.deps.Blobs == nil {
		return errNotFound
	}
	content, size, err := d.deps.Blobs.Open(r.Context(), [32]byte(ref.Sha256))
	if errors.Is(err, blobs.ErrNotFound) {
		return errNotFound
	}
	if err != nil {
		return err
	}
	defer content.Close()
	safeContent(w.Header())
	w.Header().Set("Content-Disposition", `attachment; filename="`+file+`"`)
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	// Unverified bytes must not look whole: a copy that ends early, or in an error, drops the connection.
	if n, err := io.Copy(w, content); err != nil || n != size {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// sendPicture sends a picture file of strangers, drawn anew.
func (d *Dashboard) sendPicture(w http.ResponseWriter, r *http.Request, ref *eventv1.BlobRef) error {
	if ref.GetSize() > maxPicture {
		return errNotFound
	}
	data, err := d.readBlob(r.Context(), ref, maxPicture+1)
	if errors.Is(err, blobs.ErrNotFound) {
		return errNotFound
	}
	if err != nil {
		return err
	}
	out, err := repaint(data)
	if err != nil {
		return err
	}
	return sendPNG(w, out)
}

func sendPNG(w http.ResponseWriter, data []byte) error {
	safeContent(w.Header())
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // the reader is gone when this fails
	return nil
}
