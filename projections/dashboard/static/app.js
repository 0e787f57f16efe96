// The dashboard's own script: relative times that go on, pausing of live pages, the choice of colours and a few keys.
// Everything it does is a convenience: pages work without it.
(() => {
  "use strict";
  const find = (selector) => document.querySelector(selector);

  // Relative times, in the words of format.go.
  const roughly = (s) => {
    if (s < 60) return Math.floor(s) + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    if (s < 48 * 3600) return Math.floor(s / 3600) + " h";
    return Math.floor(s / 86400) + " d";
  };
  const ago = (ms) => {
    const s = (Date.now() - ms) / 1000;
    if (Math.abs(s) < 1) return "now";
    return s < 0 ? "in " + roughly(-s) : roughly(s) + " ago";
  };
  const tick = () => {
    for (const t of document.querySelectorAll("time[datetime]")) {
      const text = ago(Date.parse(t.dateTime));
      if (t.textContent !== text) t.textContent = text;
    }
  };
  tick();
  setInterval(() => document.hidden || tick(), 1000);

  // Live pages: htmx and its SSE extension swap the fragments; this shows the state and pauses.
  const live = find("#live[hx-sse\\:connect]"), state = find("[data-live-state]");
  if (live && state) {
    const text = state.querySelector("[data-live-text]"), toggle = state.querySelector("[data-live-toggle]");
    let paused = false, connection = null;
    const show = (name, words) => {
      state.dataset.state = name;
      if (text.textContent !== words) text.textContent = words;
    };
    state.hidden = false;
    show("waiting", "Connecting");
    live.addEventListener("htmx:sse:before:connection", (e) => {
      if (paused) e.detail.connection.cancelled = true;
    });
    live.addEventListener("htmx:sse:after:connection", (e) => {
      connection = e.detail.connection;
      if (connection.status >= 400) show("broken", "Not live: reload");
      else if (!paused) show("live", "Live");
    });
    live.addEventListener("htmx:sse:after:message", () => { if (!paused) show("live", "Live"); tick(); });
    live.addEventListener("trouble", (e) => show("broken", (e.detail && e.detail.data) || "Not live"));
    live.addEventListener("htmx:sse:error", (e) => {
      if (paused) return;
      show("broken", e.detail.status === 401 ? "Logged out" : "Reconnecting");
    });
    const setPaused = (on) => {
      paused = on;
      toggle.textContent = on ? "Resume" : "Pause";
      toggle.setAttribute("aria-pressed", String(on));
      if (on) {
        show("paused", "Paused");
        if (connection && connection.reader) connection.reader.cancel();
      } else {
        show("waiting", "Connecting");
        window.htmx.trigger(live, "shardy:resume");
      }
    };
    toggle.addEventListener("click", () => setPaused(!paused));
    window.addEventListener("keydown", (e) => { if (e.key === "p" && plainKey(e)) setPaused(!paused); });
  }

  // Colours: the cookie is what the server reads; this spares the trip.
  const themes = find("[data-theme-form]");
  if (themes) themes.addEventListener("submit", (e) => {
    const value = e.submitter && e.submitter.value;
    if (!value) return;
    e.preventDefault();
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = "shardy_theme=" + value + "; Path=/; Max-Age=31536000; SameSite=Strict" + secure;
    document.documentElement.dataset.theme = value;
    for (const b of themes.querySelectorAll("button")) b.setAttribute("aria-pressed", String(b.value === value));
  });

  // Keys: g and a letter go to a screen, / goes to the filter.
  const plainKey = (e) => !e.ctrlKey && !e.metaKey && !e.altKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName);
  const screens = { o: "/", j: "/jobs", l: "/pipelines", d: "/deadletters", w: "/workers", e: "/events", p: "/projections", s: "/diagnostics", c: "/ledger", b: "/ledger/blocks", t: "/ledger/transactions", a: "/ledger/accounts", m: "/mesh" };
  let g = 0;
  window.addEventListener("keydown", (e) => {
    if (!plainKey(e)) return;
    if (e.key === "g") { g = Date.now(); return; }
    const to = Date.now() - g < 1000 && screens[e.key];
    g = 0;
    if (to && document.querySelector('nav a[href="' + to + '"]')) { e.stopImmediatePropagation(); location.assign(to); return; }
    const search = find("input[type=search]");
    if (e.key === "/" && search) { e.preventDefault(); search.focus(); }
  }, true);
})();
