
"use strict";

// ---- numbers for people -------------------------------------------------------------------------------------------

const NOTHING = "–";
const KEY_PLACE = "mixllm-key";
const EVERY_MS = 10000;

const known = (value) => typeof value === "number" && Number.isFinite(value);
const percent = (share, digits = 1) => (known(share) ? `${(100 * share).toFixed(digits)} %` : NOTHING);
const count = (value) => (known(value) ? Math.round(value).toLocaleString("en-US") : NOTHING);
const decimal = (value, digits = 3) => (known(value) ? value.toFixed(digits) : NOTHING);

function usd(amount) {
  if (!known(amount)) return NOTHING;
  const sign = amount < 0 ? "−" : "";
  const size = Math.abs(amount);
  if (size === 0) return "$0";
  const places = Math.min(10, Math.max(2, 2 - Math.floor(Math.log10(size))));
  return `${sign}$${size.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places })}`;
}

function seconds(time) {
  if (!known(time)) return NOTHING;
  if (time >= 120) return span(time);
  return time >= 1 ? `${time.toFixed(2)} s` : `${Math.round(1000 * time)} ms`;
}

function span(time) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (time >= length) return `${Number((time / length).toFixed(1))} ${unit}`;
  }
  return `${Math.round(time)} s`;
}

function quality(measured) {
  if (!measured) return NOTHING;
  const half = known(measured.low) ? ` ± ${decimal(measured.mean - measured.low)}` : "";
  return `${decimal(measured.mean)}${half}`;
}

const clock = (at) => new Date(1000 * at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const moment = (at, length) =>
  new Date(1000 * at).toLocaleString([], length > 1.5 * 86400
    ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }
    : { hour: "2-digit", minute: "2-digit" });

// ---- the document: text goes in as text, never as markup -----------------------------------------------------------

const place = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

function table(caption, columns, rows) {
  // A column is [title, is it of numbers?]; the first cell of a row is its heading.
  if (!rows.length) return element("p", { class: "quiet" }, "Nothing yet.");
  const head = element("tr", {}, ...columns.map(([title, number]) =>
    element("th", { scope: "col", class: number ? "number" : "" }, title)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell, at) => {
    const tag = at === 0 ? "th" : "td";
    const attributes = { class: columns[at][1] ? "number" : columns[at][2] || "" };
    if (at === 0) attributes.scope = "row";
    return element(tag, attributes, cell);
  })));
  return element("table", { "aria-label": caption }, element("thead", {}, head), element("tbody", {}, ...body));
}

function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.flatMap(([term, text]) =>
    [element("dt", {}, term), element("dd", {}, text)]));
}

function share(part) {
  const bar = drawn("svg", { class: "share", viewBox: "0 0 64 8", "aria-hidden": "true" },
    drawn("rect", { class: "whole", width: 64, height: 8, rx: 3 }),
    drawn("rect", { class: "part", width: Math.max(0, Math.min(1, part || 0)) * 64, height: 8, rx: 3 }));
  return element("span", {}, bar, percent(part));
}

const marked = (text, kind) => element("span", { class: kind }, text);

// ---- charts ----------------------------------------------------------------------------------------------------------

const WIDTH = 560, HEIGHT = 190, LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 22;

function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].find((step) => step * power >= value * 0.9999) * power;
}

class Chart {
  constructor(report, { low = 0, high, label }) {
    this.report = report;
    this.width = report.series.width_s;
    this.from = Math.floor(report.from_s / this.width) * this.width;
    this.to = Math.max(report.to_s, this.from + this.width);
    this.low = low;
    this.high = high;
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  }

  x(at) { return LEFT + (WIDTH - LEFT - RIGHT) * (at - this.from) / (this.to - this.from); }
  y(value) { return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - this.low) / (this.high - this.low); }

  axes(text) {
    for (const part of [0, 0.5, 1]) {
      const value = this.low + part * (this.high - this.low), y = this.y(value);
      this.svg.append(
        drawn("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
        drawn("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, text(value)));
    }
    const length = this.to - this.from;
    for (const [part, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
      const at = this.from + part * length;
      this.svg.append(drawn("text", { x: this.x(at), y: HEIGHT - 6, "text-anchor": anchor }, moment(at, length)));
    }
    return this;
  }

  bars(value, kind = "") {
    for (const slot of this.report.series.slots) {
      const amount = value(slot);
      if (!(amount > 0)) continue;
      const x = this.x(slot.from_s), full = this.x(slot.from_s + this.width) - x;
      this.svg.append(drawn("rect", { class: `bar ${kind}`, x: x + full * 0.08, width: Math.max(1, full * 0.84),
        y: this.y(amount), height: Math.max(0, this.y(0) - this.y(amount)) }));
    }
    return this;
  }

  line(value, { kind = "", filled = false, gaps = false } = {}) {
    // Where there are gaps, a line joins neighbours alone; a value that stands alone is a dot.
    const runs = [];
    let last = null;
    for (const slot of this.report.series.slots) {
      const amount = value(slot);
      if (!known(amount)) continue;
      if (last === null || (gaps && slot.from_s - last > 2.5 * this.width)) runs.push([]);
      runs.at(-1).push([this.x(slot.from_s + this.width / 2), this.y(amount)]);
      last = slot.from_s;
    }
    for (const run of runs) {
      const points = run.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
      if (filled && run.length > 1) {
        const base = this.y(this.low);
        this.svg.append(drawn("polygon", { class: "area", points: `${run[0][0]},${base} ${points} ${run.at(-1)[0]},${base}` }));
      }
      this.svg.append(drawn("polyline", { class: `line ${kind}`, points }));
      if (run.length === 1) this.svg.append(drawn("circle", { class: `dot ${kind}`, cx: run[0][0], cy: run[0][1], r: 3 }));
    }
    return this;
  }

  hints(text) {
    for (const slot of this.report.series.slots) {
      const x = this.x(slot.from_s);
      this.svg.append(drawn("rect", { class: "hit", x, y: TOP, width: Math.max(2, this.x(slot.from_s + this.width) - x),
        height: HEIGHT - TOP - BOTTOM }, drawn("title", {}, `${moment(slot.from_s, this.to - this.from)}: ${text(slot)}`)));
    }
    return this;
  }
}

function charts(report) {
  const slots = report.series.slots, every = span(report.series.width_s);
  const top = (...values) => Math.max(0, ...slots.flatMap((slot) => values.map((value) => value(slot)).filter(known)));
  const traffic = new Chart(report, { high: ceiling(top((slot) => slot.decisions)),
    label: `Decisions every ${every}: ${count(report.decisions)} in all, ${count(report.failed)} failed` })
    .axes(count).bars((slot) => slot.decisions).bars((slot) => slot.failed, "failed")
    .hints((slot) => `${count(slot.decisions)} decisions, ${count(slot.failed)} failed`);
  const savings = report.savings;
  const cost = new Chart(report, { high: ceiling(top((slot) => slot.compared_usd, (slot) => slot.reference_cost_usd)),
    label: savings ? `Cost every ${every}: ${usd(savings.cost_usd)} in all, with ${savings.reference} about ${usd(savings.reference_cost_usd)}` : "Cost" })
    .axes(usd).line((slot) => slot.reference_cost_usd, { kind: "two" })
    .line((slot) => slot.compared_usd, { filled: true })
    .hints((slot) => `${usd(slot.compared_usd)}, with the reference about ${usd(slot.reference_cost_usd)}`);
  const judged = slots.filter((slot) => known(slot.quality));
  const lowest = judged.length ? Math.min(...judged.map((slot) => slot.quality)) : 0;
  const low = Math.max(0, Math.floor(10 * lowest - 0.5) / 10);
  const good = new Chart(report, { low, high: 1,
    label: `Judged quality every ${every}: ${quality(report.quality)} over the period` })
    .axes((value) => decimal(value, 2)).line((slot) => slot.quality, { gaps: true })
    .hints((slot) => `quality ${decimal(slot.quality)} over ${count(slot.judged)} judged answers`);
  const captioned = (chart, title, ...legend) => element("figure", {},
    element("figcaption", {}, title, ...legend.map(([text, kind]) => element("span", { class: kind }, text))), chart.svg);
  place("charts").replaceChildren(
    captioned(traffic, `Decisions every ${every}`, ["decided", "one"], ["failed", "failed"]),
    captioned(cost, `Cost every ${every}`, ["spent", "one"], [savings ? `${savings.reference} always, about` : "reference", "two"]),
    captioned(good, "Judged quality", ["mean of the judged answers", "one"]));
}

// ---- the figures -----------------------------------------------------------------------------------------------------

function tile(term, value, more) {
  return element("div", { class: "tile" }, element("dl", {}, element("dt", {}, term), element("dd", {}, value),
    element("dd", { class: "more" }, more)));
}

function tiles(report) {
  const length = report.to_s - report.from_s, savings = report.savings, judged = report.quality;
  const lost = report.failed ? `${count(report.failed)} failed` : "none failed";
  place("tiles").replaceChildren(
    tile("Decisions", count(report.decisions), `${decimal(report.decisions / Math.max(1, length), 2)} a second, ${lost}`),
    tile("Cost", usd(report.spend.total_usd),
      report.spend.judging_usd ? `${usd(report.spend.judging_usd)} of it for judging` : `${usd(report.spend.calls_usd / Math.max(1, report.decisions))} a decision`),
    tile("Saved, about", savings ? percent(savings.saved_share) : NOTHING,
      savings ? `${usd(savings.saved_usd)} against ${savings.reference} always` : "nothing to compare"),
    tile("Quality", judged ? decimal(judged.mean) : NOTHING,
      judged ? `${known(judged.low) ? `± ${decimal(judged.mean - judged.low)}, ` : ""}${count(judged.count)} answers judged` : "no answer was judged"),
    tile("Time to the end", seconds(report.latency_s.p50), `95 % within ${seconds(report.latency_s.p95)}`),
    tile("To the first token", seconds(report.ttft_s.p50), `95 % within ${seconds(report.ttft_s.p95)}`),
    tile("Fallbacks", percent(report.decisions ? report.fallbacks / report.decisions : null),
      `${count(report.calls.error + report.calls.timeout + report.calls.broken_stream)} calls failed`),
    tile("Exploration", percent(report.exploration.share), `${percent(report.out_of_domain.share)} out of domain`));
}

function breaker(status) {
  if (status.state === "closed") return marked("closed", "good");
  const kind = status.state === "open" ? "bad" : "warn";
  const wait = status.retry_in_s > 0 ? `, probe in ${seconds(status.retry_in_s)}` : "";
  return marked(`${status.state.replace("_", "-")}${wait}`, kind);
}

function llms(data) {
  const now = new Map(data.router.llms.map((llm) => [llm.name, llm]));
  const names = [...Object.keys(data.report.llms), ...[...now.keys()].filter((name) => !(name in data.report.llms))];
  const rows = names.map((name) => {
    const did = data.report.llms[name], is = now.get(name);
    const failed = did ? did.calls.error + did.calls.timeout + did.calls.broken_stream : 0;
    const held = is && is.refused_s > 0 ? `, cooling ${seconds(is.refused_s)}` : "";
    return [name,
      did ? share(did.share) : share(0), did ? quality(did.quality) : NOTHING,
      did && did.quality ? count(did.quality.count) : "0",
      did ? usd(did.cost_usd) : NOTHING, did ? seconds(did.latency_s.p50) : NOTHING, did ? seconds(did.latency_s.p95) : NOTHING,
      did ? seconds(did.ttft_s.p50) : NOTHING, failed ? marked(count(failed), "bad") : "0",
      is ? count(is.in_flight) : NOTHING, is ? `${seconds(is.wait_s)}${held}` : NOTHING,
      is ? breaker(is.breaker) : marked("not in the pool", "quiet")];
  });
  place("llms").replaceChildren(table("LLMs", [["LLM"], ["Share"], ["Quality ± 90 %", 1], ["Judged", 1], ["Cost", 1],
    ["p50", 1], ["p95", 1], ["First token", 1], ["Errors", 1], ["Under way", 1], ["Wait now", 1], ["Breaker"]], rows));
}

function newest(data) {
  const rows = data.newest.map((one) => {
    const stood = one.answered_by !== null && one.answered_by !== one.llm ? ` → ${one.answered_by}` : "";
    const status = one.status === null ? marked("under way", "quiet") : marked(one.status.replace("_", " "), one.status === "ok" ? "good" : "bad");
    const domain = one.tags.length ? `${one.tags[0].tag} ${percent(one.tags[0].probability, 0)}` : NOTHING;
    return [element("span", { title: one.decision_id }, clock(one.created_at_s)), `${one.llm}${stood}`, one.reason, domain,
      status, decimal(one.quality, 2), usd(one.cost_usd), seconds(one.latency_s)];
  });
  place("newest").replaceChildren(table("Newest decisions", [["At"], ["LLM"], ["Why", 0, "why"], ["Domain"], ["Ended"],
    ["Quality", 1], ["Cost", 1], ["Time", 1]], rows));
}

function savings(report) {
  const saved = report.savings;
  if (!saved) {
    place("savings").replaceChildren(element("p", { class: "quiet" }, "No decision with a known cost had the reference among its candidates."));
    return;
  }
  const trust = known(saved.reference_cost_ratio)
    ? `its ${count(saved.reference_calls)} own calls cost ${decimal(saved.reference_cost_ratio, 2)} times their forecast`
    : "it was never called itself, so nothing checks that";
  place("savings").replaceChildren(facts([
    ["Reference", saved.reference], ["Spent", usd(saved.cost_usd)],
    ["With the reference", `about ${usd(saved.reference_cost_usd)}`],
    ["Saved", `${usd(saved.saved_usd)} (${percent(saved.saved_share)})`], ["Net of judging", usd(saved.saved_net_usd)],
    ["Forecast quality", `${decimal(saved.quality_forecast)} of what was chosen, ${decimal(saved.reference_quality_forecast)} of the reference`],
    ["Compared", `${count(saved.decisions)} decisions; ${count(saved.left_out)} left out`],
    ["An estimate", `what the reference would have cost is its forecast in each decision; ${trust}`]]));
}

function learning(data) {
  const vitals = data.router.learning.vitals, feedback = data.report.feedback;
  const sources = Object.entries(feedback.by_source).map(([name, number]) => `${name} ${count(number)}`).join(", ");
  const state = !vitals.running ? marked("not running", "bad") : vitals.stalled ? marked("stalled", "bad") : marked("running", "good");
  place("learning").replaceChildren(facts([
    ["State", state], ["Model version", `${count(data.router.learning.model_version)}, replaced ${count(data.router.learning.swaps)} times`],
    ["Behind", `${count(Math.max(0, vitals.newest_event - vitals.position))} events`],
    ["Learned from", `${count(vitals.outcomes)} calls, ${count(vitals.feedback)} judgements since the start`],
    ["Left out", `${count(vitals.ignored)} ignored, ${count(vitals.refused)} refused`],
    ["Feedback", `${count(feedback.judgements)} judgements of ${count(feedback.decisions)} answers${sources ? ` (${sources})` : ""}`],
    ["Store", `${vitals.store.place}${vitals.store.problem ? `: ${vitals.store.problem}` : ""}`],
    ["Gateway", `${count(data.router.workers)} worker${data.router.workers === 1 ? "" : "s"}, ${count(data.router.shed)} requests shed`]]));
}

function budget(data) {
  const now = data.router.budget;
  place("budget-card").hidden = !now;
  if (!now) return;
  const accounts = [["all", now.total], ...Object.entries(now.keys)].filter(([, account]) => account);
  const rows = accounts.map(([name, one]) => [name, share(one.limit_usd > 0 ? one.spent_usd / one.limit_usd : 1), usd(one.spent_usd),
    usd(one.limit_usd), usd(one.remaining_usd), `${decimal(1 / one.cost_weight, 2)}`]);
  place("budget").replaceChildren(
    element("p", { class: "quiet" }, `Each ${now.period}, until ${moment(now.end_s, 1e9)}.`),
    table("Budget", [["Budget"], ["Used"], ["Spent", 1], ["Limit", 1], ["Left", 1], ["λ times", 1]], rows));
}

const first = (groups, number = 12) => Object.entries(groups).slice(0, number);

function groups(report) {
  place("tags").replaceChildren(table("Domains", [["Domain"], ["Share"], ["Quality ± 90 %", 1], ["Cost", 1]],
    first(report.tags).map(([name, one]) => [name || "(none)", share(one.share), quality(one.quality), usd(one.cost_usd)])));
  place("keys").replaceChildren(table("Keys", [["Key"], ["Decisions", 1], ["Cost", 1], ["Judging", 1]],
    first(report.keys).map(([name, one]) => [name || "(none)", count(one.decisions), usd(one.cost_usd), usd(one.judging_usd)])));
  const shadows = Object.entries(report.shadows);
  place("shadows-card").hidden = !shadows.length;
  place("shadows").replaceChildren(table("Shadows", [["Shadow"], ["Decisions", 1], ["Same choice", 1]],
    shadows.map(([name, one]) => [name, count(one.decisions), percent(one.agreement)])));
}

function forecasts(report) {
  const rows = [["all", report.forecasts], ...Object.entries(report.llms).map(([name, one]) => [name, one.forecasts])]
    .map(([name, one]) => [name, one.quality ? decimal(one.quality.forecast) : NOTHING, one.quality ? decimal(one.quality.measured) : NOTHING,
      one.quality ? quality(one.quality.bias) : NOTHING, one.cost ? usd(one.cost.forecast_usd) : NOTHING,
      one.cost ? usd(one.cost.measured_usd) : NOTHING, one.latency ? decimal(one.latency.ratio_p50, 2) : NOTHING,
      one.latency ? percent(one.latency.inside_90) : NOTHING]);
  place("forecasts").replaceChildren(table("Forecasts", [["LLM"], ["Quality forecast", 1], ["judged", 1], ["too high by ± 90 %", 1],
    ["Cost forecast", 1], ["measured", 1], ["Time: measured / forecast", 1], ["within its 90 %", 1]], rows));
}

function health(data) {
  const open = data.router.llms.filter((llm) => llm.breaker.state !== "closed");
  const warnings = [...data.router.learning.warnings, ...open.map((llm) => `${llm.name} is left alone: its breaker is ${llm.breaker.state.replace("_", "-")}`)];
  if (!data.router.learning.vitals.running) warnings.unshift("learning is not running: see the gateway's log");
  if (!data.router.llms.length) warnings.unshift("the pool is empty: add an LLM with POST /v1/llms");
  place("warnings").hidden = !warnings.length;
  place("warnings").replaceChildren(...warnings.map((text) => element("li", {}, text)));
  say(warnings.length ? "needs a look" : "healthy", warnings.length ? "warn" : "good");
}

function show(data) {
  const report = data.report, length = report.to_s - report.from_s;
  const cut = report.complete ? "" : ` The newest ${count(report.decisions)} decisions alone: older ones of this period are left out; "mixllm report" reads all of them.`;
  place("period").textContent = report.decisions
    ? `${moment(report.from_s, 1e9)} to ${moment(report.to_s, 1e9)} (${span(length)}).${cut}`
    : "Nothing was decided in this period. Choose a longer one, or send a request.";
  health(data);
  tiles(report);
  charts(report);
  llms(data);
  newest(data);
  savings(report);
  learning(data);
  budget(data);
  groups(report);
  forecasts(report);
  place("figures").hidden = false;
  place("updated").textContent = `Updated at ${clock(data.now_s)}; the figures of the period are as of ${clock(report.to_s)}.`;
}

// ---- asking the gateway ----------------------------------------------------------------------------------------------

let timer = 0, asked = 0;

function say(text, kind) {
  const pill = place("health");
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${kind}`;
}

function trouble(text) {
  place("trouble").hidden = !text;
  place("trouble").textContent = text;
}

function askForKey(refusal) {
  sessionStorage.removeItem(KEY_PLACE);
  place("forget").hidden = true;
  place("figures").hidden = true;
  place("refusal").textContent = refusal;
  place("ask").hidden = false;
  place("key").focus();
  say("locked", "warn");
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++asked, key = sessionStorage.getItem(KEY_PLACE);
  try {
    const headers = key ? { authorization: `Bearer ${key}` } : {};
    const since = encodeURIComponent(place("since").value);
    const reply = await fetch(`dashboard/data?since=${since}`, { headers, cache: "no-store" });
    const answer = await reply.json();
    if (mine !== asked) return;  // Another period was chosen meanwhile.
    if (reply.status === 401 || (reply.status === 403 && key)) {
      askForKey(key ? answer.error.message : "");
      return;
    }
    if (!reply.ok) throw new Error(answer.error.message);
    trouble("");
    place("ask").hidden = true;
    place("forget").hidden = !key;
    show(answer);
  } catch (error) {
    if (mine !== asked) return;
    say("no answer", "bad");
    trouble(`The figures could not be had: ${error.message} It is tried again.`);
  }
  plan();
}

function plan() {
  clearTimeout(timer);
  if (place("pause").getAttribute("aria-pressed") === "false") {
    timer = setTimeout(() => (document.hidden ? plan() : refresh()), EVERY_MS);
  }
}

place("since").addEventListener("change", refresh);
place("pause").addEventListener("click", () => {
  const paused = place("pause").getAttribute("aria-pressed") === "false";
  place("pause").setAttribute("aria-pressed", String(paused));
  place("pause").textContent = paused ? "Go on" : "Pause";
  if (paused) clearTimeout(timer); else refresh();
});
place("forget").addEventListener("click", () => askForKey(""));
place("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY_PLACE, place("key").value.trim());
  place("key").value = "";
  refresh();
});
refresh();
