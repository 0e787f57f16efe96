// Drives the log server with one of the official clients for Node: clients.mjs <package> <connection string>.
// It ends with 0 and "ok" when everything is as a user of EventStoreDB expects it.
import assert from "node:assert/strict";

const [name, uri] = process.argv.slice(2);
const db = await import(name);
const kurrent = name.includes("kurrent");
const Client = kurrent ? db.KurrentDBClient : db.EventStoreDBClient;
const client = Client.connectionString([uri]);
// The newer client has other names for what a writer expects.
const expecting = (e) => (kurrent ? { streamState: e } : { expectedRevision: e });
const run = Math.random().toString(36).slice(2);
const stream = (s) => `${s}-${kurrent ? "k" : "e"}-${run}`;
const event = (type, data = {}) => db.jsonEvent({ type, data, metadata: { run } });
const list = async (events) => {
  const got = [];
  for await (const { event } of events) got.push(event);
  return got;
};
const types = async (events) => (await list(events)).map((e) => `${e.type}${e.revision}`).join(" ");

async function appends() {
  const s = stream("append");
  const first = await client.appendToStream(s, [event("A", { a: 1 }), event("B")], expecting(db.NO_STREAM));
  assert.equal(first.success, true);
  assert.equal(first.nextExpectedRevision, 1n);
  await client.appendToStream(s, event("C"), expecting(1n));
  await assert.rejects(client.appendToStream(s, event("D"), expecting(0n)), (e) => {
    assert.ok(e instanceof db.WrongExpectedVersionError, `${e}`);
    assert.equal(e.actualVersion ?? e.actualState, 2n);
    return true;
  });
  await assert.rejects(client.appendToStream(s, event("D"), expecting(db.NO_STREAM)), db.WrongExpectedVersionError);
  const bytes = db.binaryEvent({ type: "Bytes", data: new Uint8Array([0, 255, 7]) });
  await client.appendToStream(s, bytes, expecting(db.STREAM_EXISTS));
  await assert.rejects(client.appendToStream(s, db.binaryEvent({ type: "Big", data: new Uint8Array((1 << 20) + 1) })), (e) => {
    assert.ok(e instanceof db.MaxAppendSizeExceededError, `${e}`);
    return true;
  });

  assert.equal(await types(client.readStream(s)), "A0 B1 C2 Bytes3");
  assert.equal(await types(client.readStream(s, { fromRevision: 1n, maxCount: 2 })), "B1 C2");
  assert.equal(await types(client.readStream(s, { direction: db.BACKWARDS, fromRevision: db.END })), "Bytes3 C2 B1 A0");
  assert.equal(await types(client.readStream(s, { direction: db.BACKWARDS, fromRevision: 1n })), "B1 A0");
  const all = await list(client.readStream(s));
  assert.deepEqual(all[0].data, { a: 1 });
  assert.deepEqual(all[0].metadata, { run });
  assert.deepEqual([...all[3].data], [0, 255, 7]);
  assert.equal(all[3].id, bytes.id);
  assert.ok(Math.abs(Date.now() - new Date(all[0].created).getTime()) < 60_000, `${all[0].created}`);
  await assert.rejects(list(client.readStream(stream("none"))), db.StreamNotFoundError);

  const back = await list(client.readAll({ direction: db.BACKWARDS, fromPosition: db.END, maxCount: 20 }));
  assert.equal(back.filter((e) => !e.type.startsWith("$"))[0].type, "Bytes");
  const from = (await list(client.readStream(s)))[1].position ?? first.position;
  const forth = await list(client.readAll({ fromPosition: from ?? db.START, maxCount: 1000 }));
  assert.ok(forth.some((e) => e.streamId === s && e.type === "C"));
}

async function follows() {
  const s = stream("follow");
  const writers = 8;
  const each = 250; // 2,000 appends while four subscriptions run
  const want = new Set();
  const subs = [
    client.subscribeToAll({ fromPosition: db.START, filter: db.streamNameFilter({ prefixes: [s] }) }),
    client.subscribeToAll({ fromPosition: db.START, filter: db.eventTypeFilter({ regex: `^Follow${run}$` }) }),
    client.subscribeToAll({ fromPosition: db.END, filter: db.excludeSystemEvents() }),
    client.subscribeToStream(`${s}-0`, { fromRevision: db.START }),
  ];
  const ready = subs.map((sub) => new Promise((ok) => sub.once("confirmation", ok)));
  const seen = subs.map(async (sub, i) => {
    const n = i === 3 ? each : writers * each;
    const got = new Map();
    for await (const { event: e } of sub) {
      if (!e || e.type !== `Follow${run}`) continue;
      assert.equal(e.revision, BigInt(got.get(e.streamId) ?? 0), "gap or repeat");
      got.set(e.streamId, Number(e.revision) + 1);
      if ([...got.values()].reduce((a, b) => a + b, 0) === n) break;
    }
    await sub.unsubscribe();
    return got.size;
  });
  await Promise.all(ready);
  await Promise.all(
    [...Array(writers).keys()].map(async (w) => {
      for (let i = 0; i < each; i++) {
        const e = event(`Follow${run}`, { i });
        want.add(e.id);
        await client.appendToStream(`${s}-${w}`, e, expecting(i ? BigInt(i - 1) : db.NO_STREAM));
      }
    }),
  );
  assert.deepEqual(await Promise.all(seen), [writers, writers, writers, 1]);
}

const info = (s, group) => client.getPersistentSubscriptionToStreamInfo(s, group);

async function groups() {
  const s = stream("group");
  await client.createPersistentSubscriptionToStream(s, "g", db.persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: db.START, messageTimeout: 5000 }));
  await assert.rejects(
    client.createPersistentSubscriptionToStream(s, "g", db.persistentSubscriptionToStreamSettingsFromDefaults()),
    db.PersistentSubscriptionExistsError,
  );
  await client.appendToStream(s, [...Array(20).keys()].map((i) => event("G", { i })));
  const sub = client.subscribeToPersistentSubscriptionToStream(s, "g");
  const got = [];
  let retried = false;
  for await (const e of sub) {
    const { event: x, retryCount } = e;
    if (x.data.i === 3 && !retried) {
      retried = true;
      await sub.nack("retry", "once more", e);
      continue;
    }
    if (x.data.i === 3) assert.ok(retryCount >= 1 || e.retryCount >= 1, "retry count");
    if (x.data.i === 5) {
      await sub.nack("park", "not now", e);
    } else {
      await sub.ack(e);
    }
    got.push(x.data.i);
    if (got.length < 20) continue;
    // Leaving the loop cancels the call, which may overtake the last acknowledgements.
    for (let i = await info(s, "g"); i.stats.totalInFlightMessages || Number(i.stats.parkedMessageCount) !== 1; i = await info(s, "g"));
    break;
  }
  await sub.unsubscribe();
  assert.deepEqual(got.slice().sort((a, b) => a - b), [...Array(20).keys()]);
  const about = await info(s, "g");
  assert.equal(about.groupName, "g");
  assert.equal(about.eventSource, s);
  const names = (await client.listAllPersistentSubscriptions()).map((i) => i.eventSource);
  assert.ok(names.includes(s));
  await client.replayParkedMessagesToStream(s, "g");
  const again = client.subscribeToPersistentSubscriptionToStream(s, "g");
  for await (const e of again) {
    assert.equal(e.event.data.i, 5);
    await again.ack(e);
    break;
  }
  await again.unsubscribe();
  await client.deletePersistentSubscriptionToStream(s, "g");
  await assert.rejects(client.getPersistentSubscriptionToStreamInfo(s, "g"), db.PersistentSubscriptionDoesNotExistError);

  const g = stream("all");
  await client.createPersistentSubscriptionToAll(
    g,
    db.persistentSubscriptionToAllSettingsFromDefaults({ startFrom: db.START }),
    { filter: db.streamNameFilter({ prefixes: [s] }) },
  );
  const all = client.subscribeToPersistentSubscriptionToAll(g);
  let n = 0;
  for await (const e of all) {
    assert.equal(e.event.streamId, s);
    await all.ack(e);
    if (++n === 20) break;
  }
  await all.unsubscribe();
  await client.deletePersistentSubscriptionToAll(g);
}

async function endings() {
  const s = stream("end");
  await client.appendToStream(s, [event("A"), event("B"), event("C")]);
  await client.setStreamMetadata(s, { maxCount: 2, mine: "kept" });
  const meta = await client.getStreamMetadata(s);
  assert.equal(meta.metadata.maxCount, 2);
  assert.equal(meta.metadata.mine, "kept");
  assert.equal(await types(client.readStream(s)), "B1 C2");
  await client.setStreamMetadata(s, {});
  await client.deleteStream(s, expecting(2n));
  await assert.rejects(list(client.readStream(s)), db.StreamNotFoundError);
  await client.appendToStream(s, event("D"), expecting(db.NO_STREAM));
  assert.equal(await types(client.readStream(s)), "D3");
  await client.tombstoneStream(s, expecting(db.ANY));
  await assert.rejects(list(client.readStream(s)), db.StreamDeletedError);
  await assert.rejects(client.appendToStream(s, event("E")), db.StreamDeletedError);
}

// Appends to several streams, all or none, which only the newer client knows.
async function sessions() {
  if (!kurrent) return;
  const [a, b] = [stream("session-a"), stream("session-b")];
  const done = await client.multiStreamAppend([
    { streamName: a, events: [event("A"), event("B")], expectedState: db.NO_STREAM },
    { streamName: b, events: [event("C")], expectedState: db.ANY },
  ]);
  assert.deepEqual(done.responses.map((r) => [r.streamName, r.revision]), [[a, 1n], [b, 0n]]);
  await assert.rejects(
    client.multiStreamAppend([
      { streamName: a, events: [event("D")], expectedState: 0n },
      { streamName: b, events: [event("D")], expectedState: db.ANY },
    ]),
    db.WrongExpectedVersionError,
  );
  const more = await client.appendRecords(
    [{ streamName: a, record: event("E") }, { streamName: b, record: event("F") }, { streamName: a, record: event("G") }],
    [{ type: "streamState", streamName: b, expectedState: 0n }],
  );
  assert.ok(more.position > done.position);
  await assert.rejects(
    client.appendRecords([{ streamName: a, record: event("H") }], [{ type: "streamState", streamName: b, expectedState: 0n }]),
    db.AppendConsistencyViolationError,
  );
  assert.equal(await types(client.readStream(a)), "A0 B1 E2 G3");
  assert.equal(await types(client.readStream(b)), "C0 F1");
  const got = await list(client.readStream(a));
  assert.deepEqual(got[0].metadata, { run });
  await client.tombstoneStream(b, expecting(db.ANY));
  await assert.rejects(client.multiStreamAppend([{ streamName: b, events: [event("I")], expectedState: db.ANY }]), db.StreamTombstonedError);
}

const stories = { appends, follows, groups, endings, sessions };
const chosen = process.argv.slice(4);
try {
  for (const [title, story] of Object.entries(stories)) {
    if (chosen.length && !chosen.includes(title)) continue;
    await story();
    console.log(`${title}: done`);
  }
} finally {
  await client.dispose();
}
console.log("ok");
