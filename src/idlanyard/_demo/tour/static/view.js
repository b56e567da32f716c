// Elements of the page. Text is set as text only: it comes from requests.

const LANES = ["client", "gateway", "shop", "worker", "billing", "partner"];
const CALLERS = { gateway: "client", shop: "gateway", billing: "gateway", partner: "gateway" };

export function make(tag, text = "", kind = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = kind;
  return element;
}

function makeList(items) {
  const list = make("ul");
  list.append(...items);
  return list;
}

function makeChips(ids) {
  return Object.entries(ids)
    .filter(([name]) => name !== "request_id")
    .map(([name, [value, how]]) => make("li", `${name} ${value} · ${how}`, `chip ${how}`));
}

function placeRow(row, from, to, box) {
  const [start, end] = [LANES.indexOf(from), LANES.indexOf(to)];
  const [low, high] = [Math.min(start, end), Math.max(start, end)];
  if (low !== high) {
    const arrow = make("div", "", `arrow ${start < end ? "right" : "left"}`);
    arrow.style.gridColumn = `${2 * low + 2} / ${2 * high + 2}`;
    row.append(arrow);
  }
  const first = Math.min(2 * Math.max(low, end - 1) + 2, 6);
  box.style.gridColumn = `${first} / span 7`;
  row.append(box);
}

function makeRow(event, from, to, title, ...parts) {
  const row = make("li");
  row.dataset.at = event.at;
  row.dataset.kind = event.kind;
  row.dataset.service = event.service;
  const box = make("div", "", "box");
  box.append(make("p", title, "title"), ...parts);
  placeRow(row, from, to, box);
  return row;
}

function makeHeaders(title, headers, removed = []) {
  const details = make("details");
  details.append(make("summary", title));
  for (const [name, value] of Object.entries(headers)) {
    const line = make("p");
    line.append(make("code", `${name}: ${value}`, removed.includes(name) ? "gone" : ""));
    details.append(line);
  }
  return details;
}

export const rows = {
  begun(event) {
    const sent = makeHeaders("headers that it sends", event.headers);
    sent.open = true;
    return makeRow(event, "client", "client", "the client sends a request", sent);
  },
  arrived(event) {
    const title = `${event.caller} → ${event.service}: ${event.call}`;
    const parts = [makeList(makeChips(event.ids))];
    for (const name of event.removed) {
      const line = make("p");
      line.append(make("code", `${name}: ${event.wire[name]}`, "gone"), " removed: not proven");
      parts.push(line);
    }
    if (event.headers) {
      parts.push(make("p", `no IDs; the headers that arrived: ${event.headers.join(", ")}`));
    } else if (Object.keys(event.wire).length > 0) {
      parts.push(makeHeaders("headers on the wire", event.wire, event.removed));
    }
    const row = makeRow(event, event.caller, event.service, title, ...parts);
    row.classList.toggle("bad", event.removed.length > 0);
    return row;
  },
  answered(event) {
    const caller = CALLERS[event.service];
    const title = `${event.service} → ${caller}: ${event.status}`;
    const row = makeRow(event, event.service, caller, title);
    const echoed = Object.entries(event.headers).filter(([name]) => name !== "X-Request-ID");
    for (const [name, value] of echoed) {
      const line = make("p");
      line.append(make("code", `${name}: ${value}`));
      row.lastChild.append(line);
    }
    row.classList.add("back");
    row.classList.toggle("bad", event.status >= 500);
    return row;
  },
  changed(event) {
    const title = `code of the ${event.service} changes the IDs`;
    return makeRow(event, event.service, event.service, title, makeList(makeChips(event.ids)));
  },
  refused(event) {
    const title = `${event.service} refuses ${event.field}: ${event.reason}`;
    const row = makeRow(event, event.service, event.service, title);
    row.classList.add("bad");
    return row;
  },
};

function makeLine(event, text, ids) {
  const line = make("li");
  line.dataset.at = event.at;
  line.dataset.service = event.service;
  const known = Object.entries(ids).filter(([, value]) => value);
  line.append(make("b", `${event.service} `), text);
  line.append(make("small", ` ${known.map(([name, value]) => `${name}=${value}`).join(" ") || "no IDs"}`));
  return line;
}

export function makeLogLine(event) {
  const error = event.error ? `: ${event.error}` : "";
  const line = makeLine(event, `${event.level} ${event.text}${error}`, event.ids);
  line.classList.toggle("bad", event.level !== "INFO");
  return line;
}

export function makeSpan(event) {
  const { "request.id": request, ...ids } = event.attributes;
  return makeLine(event, `${event.name}, ${event.milliseconds.toFixed(1)} ms`, ids);
}

// Services that did not continue the trace of their caller would add one of their own.
export function addTrace(place, trace) {
  const shown = [...place.children].map((other) => other.textContent);
  if (!shown.includes(trace)) place.append(shown.length ? " and " : "trace ", make("code", trace));
}

export function makeResponseRow([name, value]) {
  const row = make("tr", "", /^x-.*-id$/i.test(name) ? "ours" : "");
  const heading = make("th", name);
  heading.scope = "row";
  row.append(heading, make("td", value));
  return row;
}

// Reports of several processes may overtake each other.
export function insertByTime(list, element) {
  const at = Number(element.dataset.at);
  const later = [...list.children].find((other) => Number(other.dataset.at) > at);
  list.insertBefore(element, later ?? null);
}
