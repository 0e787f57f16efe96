package dashboard

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// TestResultsAreShownAsWhatTheyAre: numbers as the job types them, text, a picture drawn anew, or a dump.
func TestResultsAreShownAsWhatTheyAre(t *testing.T) {
	img := image.NewPaletted(image.Rect(0, 0, 3, 2), color.Palette{color.White, color.Black})
	var gifFile bytes.Buffer
	if err := gif.Encode(&gifFile, img, nil); err != nil {
		t.Fatal(err)
	}
	gifFile.WriteString("<script>alert('trailing')</script>")
	floats := binary.LittleEndian.AppendUint64(nil, math.Float64bits(2.5))
	floats = binary.LittleEndian.AppendUint64(floats, math.Float64bits(math.Inf(-1)))
	for _, c := range []struct {
		name   string
		output []byte
		dtype  eventv1.ElementType
		want   []string
	}{
		{"signed", []byte{0xff, 0xfe, 7}, eventv1.ElementType_ELEMENT_TYPE_I8, []string{"-1 -2 7"}},
		{"floats", floats, eventv1.ElementType_ELEMENT_TYPE_F64, []string{"2.5 -Inf"}},
		{"many", make([]byte, 400), eventv1.ElementType_ELEMENT_TYPE_U32, []string{"The first 64 of 100 numbers."}},
		{"text", []byte("Grüße\n<b>bold</b>"), 0, []string{"Grüße <b>bold</b>"}},
		{"long text", bytes.Repeat([]byte("line\n"), 4000), 0, []string{"The beginning of the text."}},
		{"bytes", []byte{0, 1, 2, 0xff}, 0, []string{"000000 00 01 02 ff", "...."}},
		{"nothing", nil, 0, []string{"no bytes"}},
		{"picture", gifFile.Bytes(), 0, []string{"A GIF file, drawn anew."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, nil)
			w := s.plant
			w.output = func(actors.Task, *eventv1.JobSpec) []byte { return c.output }
			id := w.submit(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) { spec.Output = &eventv1.OutputSpec{Dtype: c.dtype} })
			w.work()
			hides(t, s.shows(linkJob(id), c.want...), "<b>bold", "<script>alert")
			a := s.get(linkJob(id) + "/output.png")
			if c.name != "picture" {
				if a.status != http.StatusNotFound {
					t.Errorf("a picture of %s: %d", c.name, a.status)
				}
				return
			}
			if size := decodePNG(t, a).Bounds().Size(); size != image.Pt(3, 2) || strings.Contains(a.body, "script") {
				t.Errorf("the picture has %v", size)
			}
		})
	}
}

// TestPictureBombs: a file that claims more pixels than are drawn is not decoded.
func TestPictureBombs(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 4096, 1025))); err != nil {
		t.Fatal(err)
	}
	if _, err := repaint(b.Bytes()); err == nil {
		t.Error("4 Mi pixels and more were drawn")
	}
	claim := b.Bytes()
	binary.BigEndian.PutUint32(claim[16:], math.MaxInt32)
	binary.BigEndian.PutUint32(claim[20:], math.MaxInt32)
	if _, err := repaint(claim); err == nil {
		t.Error("2^62 pixels were drawn")
	}
}

// FuzzLook: bytes of strangers never break what looks into them.
func FuzzLook(f *testing.F) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 2, 2))); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), uint8(0))
	f.Add([]byte("GIF89a\x02\x00\x02\x00\x80\x00\x00"), uint8(3))
	f.Add([]byte("text \xc3"), uint8(10))
	f.Fuzz(func(t *testing.T, data []byte, kind uint8) {
		if out, err := repaint(data); err == nil {
			if img, err := png.Decode(bytes.NewReader(out)); err != nil || img.Bounds().Dx()*img.Bounds().Dy() > maxPixels {
				t.Fatalf("%d bytes were drawn as %v", len(data), err)
			}
		}
		if n := len(numbersIn(data, eventv1.ElementType(kind%16))); n > maxNumbers {
			t.Fatalf("%d numbers", n)
		}
		textIn(data, kind%2 == 0)
		tileOf(data)
		if strings.Count(dump(data), "\n") > len(data)/16+1 {
			t.Fatal("a dump of too many lines")
		}
	})
}
