import { addTrace, insertByTime, makeLogLine, makeResponseRow, makeSpan, rows } from "./view.js";

const EXPLAINED = {
  none: "The gateway mints a session, and the response brings it back.",
  ids: "A session is the client's word: good for finding log lines, and never the key to a login.",
  spoof: "Anybody can write X-User-ID. The gateway removes it, and nobody behind it ever sees it.",
  token: "A signature proves the user to the gateway. The shop trusts the gateway as a peer, billing believes only a signature of its own, and the job is signed as well.",
  login: "The user is known only after the gateway has begun: later hops, the log and the response have it.",
  rotate: "The gateway replaces the session, as after a login. Later hops and the response have the new one.",
  break: "The shop fails. Its error, its 500 and the gateway's 502 still have the session.",
  partner: "The third party is on no list, so it gets no IDs, although the same client calls it.",
  crowd: "Every request has a session of its own. A mix-up is one that sees another's.",
};

const find = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("button[data-scene]")];
const lists = ["hops", "log", "spans", "response"].map(find);
let current = null;

function begin(event) {
  current = event.journey;
  for (const list of lists) list.replaceChildren();
  find("trace").replaceChildren();
  find("response-status").textContent = "on its way ...";
  find("journey").hidden = false;
  find("journey").dataset.journey = current;
}

function end(event) {
  find("response-status").textContent = `status ${event.status}`;
  find("response").replaceChildren(...event.headers.map(makeResponseRow));
}

function showCrowd(event) {
  find("crowd").hidden = false;
  find("crowd-progress").max = event.sent;
  find("crowd-progress").value = event.done;
  find("crowd-done").textContent = event.done;
  find("crowd-mixed").textContent = event.mixed_up;
  find("crowd-failed").textContent = event.failed;
}

function show(event) {
  if (event.kind === "crowd") showCrowd(event);
  if (event.kind === "begun") begin(event);
  // Lines that belong to no request are shown with the others, as lines without IDs.
  if (event.kind === "log" && (event.journey ?? current) === current) {
    insertByTime(find("log"), makeLogLine(event));
  }
  if (event.journey !== current) return;
  if (event.kind === "span") {
    insertByTime(find("spans"), makeSpan(event));
    addTrace(find("trace"), event.trace);
  }
  if (event.kind in rows) insertByTime(find("hops"), rows[event.kind](event));
  if (event.kind === "ended") end(event);
}

function enable(enabled) {
  for (const button of buttons) {
    // A disabled button would lose the focus, and with it the place of the keyboard.
    button.disabled = false;
    button.setAttribute("aria-disabled", String(!enabled));
  }
}

async function send(button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const scene = button.dataset.scene;
  enable(false);
  for (const other of buttons) other.removeAttribute("aria-current");
  button.setAttribute("aria-current", "true");
  find("explained").textContent = EXPLAINED[scene];
  find("crowd").hidden = scene !== "crowd";
  if (scene === "crowd") find("journey").hidden = true;
  find("status").textContent = "Sent ...";
  try {
    const response = await fetch(`/journeys/${scene}`, { method: "POST" });
    const result = await response.json();
    find("status").textContent = scene === "crowd"
      ? `Done: ${result.done} requests, ${result.mixed_up} mix-ups, ${result.failed} failed.`
      : `Done: the response is ${result.status}.`;
    if (scene === "crowd") showCrowd(result);
  } catch {
    find("status").textContent = "The tour did not answer: look at its terminal.";
  }
  enable(true);
}

const events = new EventSource("/events");
events.onmessage = (message) => {
  const event = JSON.parse(message.data);
  if (event.kind === "open") {
    enable(true);
    find("status").textContent = "Ready.";
  } else {
    show(event);
  }
};
events.onerror = () => {
  enable(false);
  find("status").textContent = "The tour has ended. Its terminal says why.";
};
for (const button of buttons) button.addEventListener("click", () => send(button));
