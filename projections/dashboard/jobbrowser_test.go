package dashboard

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// works are the things whose pages are looked at.
type works struct {
	liar, open, lost, long, dead, numbers, hostile, picture, stages string
}

const hostileText = "<script>alert(1)</script>\"'><img src=x onerror=y>\u202e</td></table>"

var hostileStream = "shard-" + strings.Repeat("X", 200) + `"'><b>/..`

// workScene has one of everything that happens to work.
func workScene(t testing.TB) (*scene, works) {
	s := benchScene(t, func(d *Deps) {
		d.Explain = func(context.Context, string) ([]string, error) {
			return []string{"slot 2 waits: no idle tier 1 worker outside the groups already used; 2 draining", "3 jobs are before it"}, nil
		}
	})
	w := s.plant
	w.at = time.Now().Add(-3 * time.Hour).UnixMicro()
	s.fleet()
	var all works
	all.long = w.deadLetter(nil)
	w.at += 2 * 3600 * 1e6
	w.must(actors.JobAddress(all.long), &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: "carol", Reason: "the rack is back"}}})
	w.work()
	w.at = time.Now().Add(-8 * time.Minute).UnixMicro()
	for range 12 {
		w.submit(nil)
		w.work()
		w.at += 900_000
	}
	all.stages = w.pipeline("prime count", numberInputs(130), nil)
	fail := chunkJob(all.stages, 0, 7)
	for i := 0; i < len(w.tasks); {
		if w.tasks[i].Job != fail {
			i++
			continue
		}
		w.expire(w.take(i))
		i = 0
	}
	for range 150 {
		w.step()
	}
	w.settle()
	keep := w.tasks
	w.tasks = nil
	all.picture = picturePipeline(t, w)
	w.lies = func(worker int, _ actors.Task) bool { return worker == 3 }
	for range 66 {
		w.step()
	}
	w.settle()
	half := w.tasks
	w.tasks = nil
	w.turn = 2
	all.liar = w.submit(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) {
		spec.Labels = []*eventv1.Label{{Key: "campaign", Value: "spring"}, {Key: "owner", Value: "<b>mallory</b>"}}
	})
	first := w.take(0)
	w.at += 2000
	w.ack(first)
	w.at += 30_000
	w.must(actors.SlotAddress(first.Job, first.Slot), &eventv1.Command{Kind: &eventv1.Command_StripSlot{StripSlot: &eventv1.StripSlot{
		Token: first.Token, Reason: eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED, Detail: "connection reset by peer",
	}}})
	w.work()
	w.lies = func(int, actors.Task) bool { return false }
	w.output = func(_ actors.Task, spec *eventv1.JobSpec) []byte {
		var b []byte
		for i := range 24 {
			b = binary.LittleEndian.AppendUint32(b, uint32(i*i*7919))
		}
		return b
	}
	all.numbers = w.submit(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) {
		spec.Output = &eventv1.OutputSpec{Dtype: eventv1.ElementType_ELEMENT_TYPE_U32}
	})
	w.work()
	all.hostile = w.deadLetter(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) {
		spec.Input = w.put([]byte(strings.Repeat(hostileText, 40)))
		spec.Labels = []*eventv1.Label{{Key: strings.Repeat("k", 64), Value: strings.Repeat("W", 250)}, {Key: "e", Value: hostileText}}
	})
	w.must(actors.JobAddress(all.hostile), &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{
		By: hostileText + strings.Repeat("M", 700), Reason: strings.Repeat(hostileText, 9),
	}}})
	if _, err := w.log.Append(t.Context(), hostileStream, events.Any, events.Draft{
		ID: events.NewCommandID([]byte("hostile")).Event(0), Type: strings.Repeat("T", events.MaxTypeName), Data: []byte(hostileText),
	}); err != nil {
		t.Fatal(err)
	}
	all.lost = w.submit(nil)
	w.expire(w.take(0))
	all.dead = w.deadLetter(func(spec *eventv1.JobSpec, _ *eventv1.JobPolicy) { spec.Tenant = strings.Repeat("long-tenant-", 5) })
	for range 3 {
		w.deadLetter(nil)
	}
	failed := w.submit(nil)
	for slices.ContainsFunc(w.tasks, func(t actors.Task) bool { return t.Job == failed }) {
		i := slices.IndexFunc(w.tasks, func(t actors.Task) bool { return t.Job == failed })
		task := w.take(i)
		w.ack(task)
		w.must(actors.SlotAddress(task.Job, task.Slot), &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: &eventv1.ReturnResult{
			Token: task.Token, Status: eventv1.ResultStatus_RESULT_STATUS_TRAP, Fuel: 77, Attestation: make([]byte, 64),
		}}})
	}
	all.open = w.submit(nil)
	w.tasks = append(slices.Clone(w.tasks[len(w.tasks)-2:]), append(keep, half...)...)
	w.at = time.Now().UnixMicro()
	w.step()
	s.settle()
	return s, all
}

func numberInputs(n int) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, fmt.Appendf(nil, "range %d", i))
	}
	return all
}

// picturePipeline draws the shipped example's picture in its 48 tiles.
func picturePipeline(t testing.TB, w *plant) string {
	data, err := os.ReadFile("../../cmd/shardy/examples/picture.png")
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	size := img.Bounds().Size()
	var inputs [][]byte
	for y := 0; y < size.Y; y += 60 {
		for x := 0; x < size.X; x += 80 {
			inputs = append(inputs, tileInput(uint32(size.X), uint32(size.Y), uint32(x), uint32(y), 80, 60))
		}
	}
	w.output = func(_ actors.Task, spec *eventv1.JobSpec) []byte {
		w.mu.Lock()
		input := w.blobs[[32]byte(spec.Input.Sha256)]
		w.mu.Unlock()
		at, ok := tileOf(input)
		if !ok {
			return []byte("42")
		}
		return pixels(img, at.at)
	}
	return w.pipeline("ray-traced picture", inputs, func(p *eventv1.PipelineSpec) {
		p.Stages[0].Name = "raytrace"
		p.Stages[0].Template.Labels = []*eventv1.Label{{Key: PreviewLabel, Value: PreviewTiles}}
	})
}

func pixels(img image.Image, at image.Rectangle) []byte {
	var out []byte
	for y := at.Min.Y; y < at.Max.Y; y++ {
		for x := at.Min.X; x < at.Max.X; x++ {
			c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			out = append(out, c.R, c.G, c.B)
		}
	}
	return out
}

// TestWorkInABrowser: every screen of work fits at every size and in both schemes, and complains about nothing.
func TestWorkInABrowser(t *testing.T) {
	b := browser(t)
	s, all := workScene(t)
	verdict := find(t, s.plant.records(actors.JobAddress(all.liar).Stream()), "TaskVerified", 0)
	screens := [][2]string{
		{"jobs", "/jobs"},
		{"jobs-filtered", "/jobs?state=dead_lettered&tenant=acme"},
		{"jobs-none", "/jobs?tenant=nobody"},
		{"job-liar", linkJob(all.liar)},
		{"job-open", linkJob(all.open)},
		{"job-requeued", linkJob(all.long)},
		{"job-numbers", linkJob(all.numbers)},
		{"job-feed", linkJob(all.liar) + "?history=feed"},
		{"job-json", linkJob(all.liar) + "?history=json"},
		{"job-tile", linkJob(chunkJob(all.picture, 0, 9))},
		{"pipelines", "/pipelines"},
		{"pipeline-picture", linkPipeline(all.picture)},
		{"pipeline-chunks", linkPipeline(all.stages)},
		{"deadletters", "/deadletters"},
		{"deadletter", linkDeadLetter(all.dead)},
		{"deadletter-plan", "/deadletters/plan?do=discard&all=yes&reason=delivery_exhausted"},
		{"events", "/events"},
		{"events-types", "/events?type=ConsensusMismatch"},
		{"eventstream", linkStream(verdict.Stream)},
		{"event", linkRecord(verdict.Stream, verdict.Rev)},
		{"hostile-job", linkJob(all.hostile)},
		{"hostile-feed", linkJob(all.hostile) + "?history=feed"},
		{"hostile-json", linkJob(all.hostile) + "?history=json"},
		{"hostile-letter", linkDeadLetter(all.hostile)},
		{"hostile-stream", linkStream(hostileStream)},
		{"hostile-event", linkRecord(hostileStream, 0)},
	}
	tab := open(t, b, s.server.URL)
	sizes := []look{looks[0], {1024, 768, "light"}, looks[3]}
	if os.Getenv("SHARDY_SCREENSHOTS") != "" {
		sizes = looks
	}
	for _, l := range sizes {
		tab.as(l)
		for _, screen := range screens {
			name := fmt.Sprintf("%s-%d-%s", screen[0], l.width, l.scheme)
			tab.do(chromedp.Navigate(s.server.URL + screen[1]))
			tab.await(`document.readyState === "complete"`)
			tab.fits(name)
			tab.shot(name)
		}
	}
}

// TestALiarIsCaughtOnScreen: the page of an open job shows the contradiction by itself, when the last result arrives.
func TestALiarIsCaughtOnScreen(t *testing.T) {
	b := browser(t)
	s := benchScene(t, nil)
	w := s.plant
	w.at = time.Now().UnixMicro()
	s.fleet()
	w.lies = func(worker int, _ actors.Task) bool { return worker == 1 }
	id := w.submit(nil)
	s.settle()
	tab := open(t, b, s.server.URL)
	tab.do(chromedp.Navigate(s.server.URL + linkJob(id)))
	tab.await(`document.querySelector("[data-live-text]").textContent === "Live"`)
	tab.await(`document.querySelector(".verdict").innerText.includes("No result yet")`)
	w.step()
	tab.await(`document.querySelector(".verdict").innerText.includes("1 result so far, all alike")`)
	w.step()
	tab.await(`document.querySelector(".verdict").innerText.includes("The results differ")`)
	w.work()
	liar := shortHex(w.key(1))
	tab.await(`document.querySelector(".verdict").innerText.includes("Contradicted: ` + liar + `")`)
	tab.await(`document.querySelector(".vote.mismatch").innerText.includes("contradicted") && document.querySelectorAll(".vote.verified tbody tr").length === 3`)
	if name := ask1[string](tab, `document.querySelector(".vote.mismatch tbody a").title`); name != hexOf(w.key(1)) {
		t.Errorf("the page contradicts %s, the liar is %x", name, w.key(1))
	}
	tab.content("the job's page")
	tab.shot("liar-caught-live")
}

// TestThePictureGrowsOnScreen: tiles appear on an open page.
func TestThePictureGrowsOnScreen(t *testing.T) {
	b := browser(t)
	s := benchScene(t, nil)
	w := s.plant
	id := picturePipeline(t, w)
	s.settle()
	tab := open(t, b, s.server.URL)
	tab.do(chromedp.Navigate(s.server.URL + linkPipeline(id)))
	tab.await(`document.querySelector("[data-live-text]").textContent === "Live"`)
	tab.await(`document.querySelector("#picture").src.endsWith("tiles=0")`)
	for range 40 {
		w.step()
	}
	w.settle()
	tab.await(`(i => i.complete && i.naturalWidth === 640 && /tiles=\d\d$/.test(i.src))(document.querySelector("#picture"))`)
	w.work()
	tab.await(`(i => i.complete && i.naturalWidth === 640 && i.src.endsWith("tiles=48"))(document.querySelector("#picture"))`)
	tab.await(`document.querySelectorAll(".grid a.verified").length === 48`)
	tab.content("the pipeline's page")
}

// TestDeadLettersInABrowser: one is looked into and requeued; the others are discarded together, after a dry run.
func TestDeadLettersInABrowser(t *testing.T) {
	b := browser(t)
	s := benchScene(t, nil)
	w := s.plant
	w.at = time.Now().Add(-time.Minute).UnixMicro()
	var ids []string
	for range 3 {
		ids = append(ids, w.deadLetter(nil))
	}
	s.settle()
	tab := open(t, b, s.server.URL)
	tab.do(chromedp.Navigate(s.server.URL + "/deadletters"))
	tab.await(`document.querySelectorAll("tbody tr").length === 3`)
	tab.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('a[href="` + linkDeadLetter(ids[0]) + `"]').click()`))
	tab.await(`location.pathname === "` + linkDeadLetter(ids[0]) + `" && document.body.innerText.includes("delivery exhausted")`)
	tab.await(`document.querySelector(".dump").innerText.startsWith("000000")`)
	tab.do(chromedp.Evaluate[chromedp.Void](`(f => { f.open = true; f.querySelector("[name=reason]").value = "workers are back"; f.querySelector("form").requestSubmit(); })([...document.querySelectorAll("details.ask")].find(d => d.innerText.startsWith("Requeue")))`))
	tab.await(`location.pathname === "` + linkJob(ids[0]) + `" && document.querySelector(".flash.done").innerText.includes("requeued")`)
	w.work()
	tab.await(`document.querySelector(".verdict").innerText.includes("Verified by quorum")`)

	tab.do(chromedp.Navigate(s.server.URL + "/deadletters"))
	tab.await(`document.querySelectorAll("tbody tr").length === 2`)
	tab.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('button[value="discard-all"]').click()`))
	tab.await(`location.pathname === "/deadletters/plan" && document.body.innerText.includes("2 dead letters would be discarded. Nothing has been written yet.")`)
	if n := strings.Count(strings.Join(typesOf(w.records("job-")), " "), "JobDiscarded"); n != 0 {
		t.Errorf("the dry run discarded %d", n)
	}
	tab.shot("deadletters-dry-run")
	tab.do(chromedp.Evaluate[chromedp.Void](`(f => { f.querySelector("[name=reason]").value = "too old"; f.querySelector("button.danger").click(); })(document.querySelector("form.act"))`))
	tab.await(`location.pathname === "/deadletters" && document.querySelector(".flash.done").innerText.includes("2 dead letters discarded.")`)
	s.settle()
	tab.do(chromedp.Navigate(s.server.URL + "/deadletters"))
	tab.await(`document.body.innerText.includes("No dead letters")`)
	tab.content("dead letters")
}

func typesOf(all []decoded) []string {
	var types []string
	for _, d := range all {
		types = append(types, d.Type)
	}
	return types
}

// TestEventsTailInABrowser: new events appear at the top, and not while the page is paused.
func TestEventsTailInABrowser(t *testing.T) {
	b := browser(t)
	s := newScene(t, nil)
	s.plant.submit(nil)
	s.settle()
	tab := open(t, b, s.server.URL)
	tab.do(chromedp.Navigate(s.server.URL + "/events"))
	tab.await(`document.querySelector("[data-live-text]").textContent === "Live"`)
	s.plant.work()
	tab.await(`document.querySelector("tbody tr").innerText.includes("TaskVerified")`)
	tab.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-live-toggle]").click()`))
	tab.await(`document.querySelector("[data-live-text]").textContent === "Paused"`)
	s.plant.deadLetter(nil)
	s.settle()
	time.Sleep(700 * time.Millisecond) // longer than between two renderings: nothing must come
	if top := ask1[string](tab, `document.querySelector("tbody tr").innerText`); !strings.Contains(top, "TaskVerified") {
		t.Errorf("a paused page shows %s", top)
	}
	tab.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-live-toggle]").click()`))
	tab.await(`document.querySelector("tbody tr").innerText.includes("JobDeadLettered")`)
	tab.content("events")
}
